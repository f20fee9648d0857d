"""Text from standard input, or from a file in its place."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

from .failure import Failure, UnusableArgument


def is_terminal() -> bool:
    """Whether a person sits at standard input; false also where there is none."""
    return sys.stdin is not None and sys.stdin.isatty()


def lines(file: str = "-") -> Iterator[str]:
    """Lines without their ends, as they come. UTF-8, whatever the locale says, so that pipes mean the same everywhere.

    Raises `Failure` for other bytes, and for a file that cannot be read.
    """
    with _standard_input() if file == "-" else opened(file) as source:
        for number, line in enumerate(source, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise Failure(f"line {number} of {named(file)} is not UTF-8: {error.reason}") from None
            yield text.removesuffix("\n").removesuffix("\r")


def named(file: str) -> str:
    """What a person is told where the text comes from."""
    return "standard input" if file == "-" else file


def opened(file: str) -> BinaryIO:
    """A file that an argument names. Raises `UnusableArgument`."""
    try:
        return open(file, "rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnusableArgument(f"{file!r} cannot be opened: {reason}") from None


def _standard_input() -> AbstractContextManager[Iterable[bytes]]:
    """Which is not ours to close."""
    return nullcontext([] if sys.stdin is None else sys.stdin.buffer)


def text() -> str:
    """All of it, without white space at its end."""
    return "\n".join(lines()).rstrip()
