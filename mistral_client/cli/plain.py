"""Text of a server or a model, made safe for a terminal."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """The text without control characters but tab and newline: with the others it could write to the clipboard, move
    the cursor or change the title. What followed them is shown as text.
    """
    return _CONTROL.sub("", text)


def one_line(text: str) -> str:
    """The same on one line."""
    return " ".join(plain(text).split())
