"""Markdown as it streams: marks become the looks of a terminal, and what was written is never written again.

Performs no I/O. Text is shown as soon as its looks are certain: of a line's beginning until it is known what it begins,
of a mark such as ** until the mark that closes it, or until it is known that none does. Then it was no mark. What is
shown does not depend on the pieces that the text came in. Spans end with their line. Anything else, tables and links
too, stays as it is.
"""

from __future__ import annotations

import re
import string

_BOLD, _FAINT, _ITALIC, _UNDERLINED, _CODE = "1", "2", "3", "4", "36"

_LONGEST = 200
"""Characters of a span between its marks. A mark that does not close holds no more than these back."""

_LONGEST_RUN = 4
"""A longer row of marks means nothing."""

_MARKS = re.compile(r"\\.?|`{1,4}|\*{1,4}|_{1,4}")
_TICKS = re.compile(r"`{1,4}")
_FENCE = re.compile(r"[ \t]*(`{3,}(?!.*`)|~{3,}).*")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(?=\S)")
_ITEM = re.compile(r"([ \t]*)[-*+]([ \t]+)(?=\S)")
_UNCERTAIN = re.compile(r"[ \t]*(#{0,6}[ \t]*|[-*+]?[ \t]*|`{0,2}|~{0,2})")
"""Beginnings of a line that may become any of these."""


class Markdown:
    """The text of one answer, piece by piece. It must hold no control characters."""

    def __init__(self, bullet: str = "•") -> None:
        self._bullet = bullet
        self._pending = ""
        self._at_start = True  # of a line
        self._looks: tuple[str, ...] = ()  # of the line
        self._before = ""  # the character before what is pending
        self._fence = ""  # what closes the block of code

    def feed(self, text: str) -> str:
        """What can be shown now."""
        self._pending += text
        return self._shown(is_all=False)

    def end(self) -> str:
        """The rest, when there is no more text."""
        return self._shown(is_all=True)

    def _shown(self, *, is_all: bool) -> str:
        shown = []
        while self._pending:
            line, newline, rest = self._pending.partition("\n")
            is_whole = is_all or bool(newline)
            if self._at_start:
                begun = self._begin(line, is_whole=is_whole)
                if begun is None:
                    break
                self._at_start, self._before = False, ""
                used, text = begun
                shown.append(text)
                line = line[used:]
            if self._fence:
                text, used = _styled(line, (_CODE,)), len(line)
            else:
                text, used = _inline(line, self._looks, self._before, is_whole=is_whole)
            shown.append(text + newline)
            if not newline:
                self._before = line[:used][-1:] or self._before
                self._pending = line[used:]
                break
            self._pending, self._at_start = rest, True
        return "".join(shown)

    def _begin(self, line: str, *, is_whole: bool) -> tuple[int, str] | None:
        """How many characters of a line are marks of what it is, and what to show for them; None if that is open."""
        self._looks = ()
        if self._fence:
            bare = line.strip(" \t")
            if bare.strip(self._fence[0]):
                return 0, ""
            if not is_whole:
                return None
            if len(bare) < len(self._fence):
                return 0, ""
            self._fence = ""
            return len(line), _styled(line, (_FAINT,))
        if fence := _FENCE.fullmatch(line):
            if not is_whole:
                return None
            self._fence = fence[1]
            return len(line), _styled(line, (_FAINT,))
        if heading := _HEADING.match(line):
            self._looks = (_BOLD, _UNDERLINED) if len(heading[1]) == 1 else (_BOLD,)
            return heading.end(), ""
        if item := _ITEM.match(line):
            return item.end(), f"{item[1]}{self._bullet}{item[2]}"
        if not is_whole and _UNCERTAIN.fullmatch(line):
            return None
        return 0, ""


def _styled(text: str, looks: tuple[str, ...]) -> str:
    """The text and its looks, which end with it: a terminal is never left in them."""
    return f"\x1b[{';'.join(looks)}m{text}\x1b[0m" if text and looks else text


def _inline(text: str, looks: tuple[str, ...], before: str, *, is_whole: bool) -> tuple[str, int]:
    """What to show of a line or its beginning, and how many characters that takes up.

    before: the character in front of the text, if any.
    """
    shown = []
    at = 0
    while mark := _MARKS.search(text, at):
        start, end, run = mark.start(), mark.end(), mark[0]
        shown.append(_styled(text[at:start], looks))
        at = start
        if end == len(text) and not is_whole and len(run) < (2 if run[0] == "\\" else _LONGEST_RUN):
            return "".join(shown), at
        if run[0] == "\\":
            shown.append(_styled(run[1:] or run if run[1:] in string.punctuation else run, looks))
            at = end
            continue
        opens = _opens(run, text[start - 1] if start else before, text[end : end + 1])
        closing = _closing(text, end, run, is_whole=is_whole) if opens else -1
        if closing is None:
            return "".join(shown), at
        if closing == -1:
            shown.append(_styled(run, looks))
            at = end
            continue
        inner = text[end:closing]
        if run[0] == "`":
            shown.append(_styled(inner, (*looks, _CODE)))
        else:
            more = {1: (_ITALIC,), 2: (_BOLD,), 3: (_BOLD, _ITALIC)}[len(run)]
            shown.append(_inline(inner, tuple(dict.fromkeys((*looks, *more))), "", is_whole=True)[0])
        at = closing + len(run)
    shown.append(_styled(text[at:], looks))
    return "".join(shown), len(text)


def _opens(run: str, before: str, after: str) -> bool:
    """Whether marks may begin a span. 2**3, snake_case, 4 * 5 and __init__ hold none."""
    if len(run) == _LONGEST_RUN or (run[0] == "_" and len(run) > 1):
        return False
    return run[0] == "`" or not (after.isspace() or not after or (before.isascii() and before.isalnum()))


def _closing(text: str, at: int, opening: str, *, is_whole: bool) -> int | None:
    """Where the marks begin that close a span; -1 if none do, None if that is open."""
    last = at + _LONGEST
    marks = _TICKS if opening[0] == "`" else _MARKS
    opened = [opening]  # and spans in the span
    while mark := marks.search(text, at):
        start, at, run = mark.start(), mark.end(), mark[0]
        if start > last:
            return -1
        if at == len(text) and not is_whole:
            return None
        before, after = text[start - 1], text[at : at + 1]
        if opening[0] == "`":
            if run == opening:
                return start
        elif run[0] == "`":
            closing = _closing(text, at, run, is_whole=is_whole)
            if closing is None:
                return None
            if closing != -1:
                at = closing + len(run)
        elif run[0] != "\\":
            closed = -1 if before.isspace() else _closed(opened, run, after)
            if closed == 0:
                return start
            if closed > 0:
                at = start + len(opened[closed])
                del opened[closed:]
            elif _opens(run, before, after):
                opened.append(run)
    return -1 if is_whole or len(text) > last else None


def _closed(opened: list[str], run: str, after: str) -> int:
    """Which of the spans marks close, the innermost that they can; -1 if none."""
    goes_on = after.isalnum()
    if run[0] == "_" and goes_on:
        return -1
    for number in reversed(range(len(opened))):
        mark = opened[number]
        if run == mark or (not goes_on and run.startswith(mark)):  # three may close two spans
            return number
    return -1
