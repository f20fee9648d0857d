"""A conversation at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from mistral_client.exceptions import MistralException

from .answer import show
from .failure import Failure

if TYPE_CHECKING:
    from mistral_client.models.chat_completion import ChatMessage

PROMPT = "> "


def converse(answer: Callable[[list[ChatMessage]], Iterator[str]], messages: list[ChatMessage]) -> None:
    """Lines from the terminal are answered until Ctrl-D or /exit; `messages` is what was said before.

    Ctrl-C stops an answer, and what was said of it stays said. An error is shown, and its turn forgotten.
    Raises `KeyboardInterrupt` for Ctrl-C at the prompt.
    """
    from mistral_client.models.chat_completion import ChatMessage

    beginning = list(messages)
    click.echo("Ctrl-D or /exit ends, Ctrl-C stops an answer, /clear begins anew.", err=True)
    while (line := _read()) is not None:
        if line == "/exit":
            return
        if line == "/clear":
            messages = list(beginning)
            continue
        if not line:
            continue
        asked = [*messages, ChatMessage(role="user", content=line)]
        said: list[str] = []
        try:
            show(answer(asked), said)
        except KeyboardInterrupt:
            click.echo(err=True)
        except MistralException as error:
            Failure(str(error)).show()
            continue
        if "".join(said):
            messages = [*asked, ChatMessage(role="assistant", content="".join(said))]


def _read() -> str | None:
    """The next line; None when there is none any more."""
    try:
        if sys.stdout is not None and sys.stdout.isatty():
            _edit_lines()
            return input(PROMPT).strip()
        # `input` would write its prompt among the answers.
        click.echo(PROMPT, nl=False, err=True)
        return input().strip()
    except EOFError:
        click.echo(err=True)
        return None
    except KeyboardInterrupt:
        click.echo(err=True)
        raise


def _edit_lines() -> None:
    """Where Python has it, its mere import gives `input` the arrow keys and the lines of before."""
    try:
        import readline as _  # noqa: F401
    except ImportError:
        return
