"""What a person types at the terminal."""

from __future__ import annotations

import sys
from types import ModuleType

import click

from .history import History

PROMPT = "> "
GOES_ON = ". "
QUOTES = '"""'


class Typed:
    """Texts that are typed, of one line each, or of several between two times three quotation marks.

    Where Python has readline, lines can be edited, and what was typed before comes back.
    """

    def __init__(self, history: History | None) -> None:
        """history: where texts come from and go to; without one they are remembered as long as the command runs."""
        self._history = history
        self._editor = _editor()
        if self._editor is not None and history is not None:
            for text in history.read():
                self._editor.add_history(text)

    def next(self) -> str | None:
        """The next text; None when there is none any more. Ctrl-C in a text of several lines gives that up.

        Raises `KeyboardInterrupt` for Ctrl-C elsewhere.
        """
        text = self._text()
        if text and text.strip() and self._editor is not None:
            self._editor.add_history(text)
            if self._history is not None:
                self._history.add(text)
        return text

    def _text(self) -> str | None:
        line = self._line(PROMPT)
        if line is None or not line.lstrip().startswith(QUOTES):
            return line
        text = line.lstrip().removeprefix(QUOTES)
        try:
            while not text.rstrip().endswith(QUOTES):
                line = self._line(GOES_ON)
                if line is None:
                    return None
                text += "\n" + line
        except KeyboardInterrupt:
            return ""
        return text.rstrip().removesuffix(QUOTES)

    def _line(self, prompt: str) -> str | None:
        try:
            if self._editor is None:
                # `input` would write its prompt among the answers.
                click.echo(prompt, nl=False, err=True)
                return input()
            return input(prompt)
        except EOFError:
            click.echo(err=True)
            return None
        except KeyboardInterrupt:
            click.echo(err=True)
            raise


def _editor() -> ModuleType | None:
    """Python's readline, where it is and `input` uses it: at a terminal."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    try:
        import readline
    except ImportError:
        return None
    readline.set_auto_history(False)  # a text of several lines is one
    return readline
