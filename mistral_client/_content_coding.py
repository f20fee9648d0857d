"""Bodies as they were before the server compressed them, in pieces of bounded size. Performs no I/O.

Only gzip is asked for, and only for whole answers, https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.3
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from .exceptions import ProtocolError

Decode = Callable[[bytes], Iterator[bytes]]

_PIECE = 256 * 1024
_GZIP = 16 + zlib.MAX_WBITS


def decoder(content_encoding: str) -> Decode:
    """What turns the bytes of a body, as they come, into what they stand for.

    Raises `ProtocolError` for another coding, or several: a small body can stand for more than the memory holds.
    """
    coding = content_encoding.strip().lower()
    if coding in {"", "identity"}:
        return _identity
    if coding in {"gzip", "x-gzip"}:
        return _Gunzip()
    raise ProtocolError(f"the answer is compressed as {content_encoding!r}, which was not asked for")


def _identity(data: bytes) -> Iterator[bytes]:
    yield data


class _Gunzip:
    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)

    def __call__(self, data: bytes) -> Iterator[bytes]:
        """Pieces of at most `_PIECE` bytes. Raises `ProtocolError` for what is no gzip."""
        try:
            while data:
                if self._member.eof:
                    self._member = zlib.decompressobj(_GZIP)
                if piece := self._member.decompress(data, _PIECE):
                    yield piece
                data = self._member.unconsumed_tail or self._member.unused_data
        except zlib.error as error:
            raise ProtocolError(f"the answer is said to be gzip, but is not: {error}") from None
