"""Text from standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from .failure import Failure


def is_terminal() -> bool:
    """Whether a person sits at standard input; false also where there is none."""
    return sys.stdin is not None and sys.stdin.isatty()


def lines() -> Iterator[str]:
    """Lines without their ends, as they come. UTF-8, whatever the locale says, so that pipes mean the same everywhere.

    Raises `Failure` for other bytes.
    """
    if sys.stdin is None:
        return
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise Failure(f"line {number} of standard input is not UTF-8: {error.reason}") from None
        yield text.removesuffix("\n").removesuffix("\r")


def text() -> str:
    """All of it, without white space at its end."""
    return "\n".join(lines()).rstrip()
