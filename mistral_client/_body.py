"""Bodies of responses: read within bounds, and, where it can be had soon, to their end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import AsyncGeneratorType
from typing import cast

import anyio
import httpx

from ._exchange import Received
from ._transport import FAILURES
from .exceptions import ProtocolError

MAX_BODY = 256 * 1024 * 1024
"""Bytes of an answer, decompressed. The largest real ones, embeddings as text, take a tenth of it."""

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error answer that are looked at."""

LINGER = 0.05
"""Seconds to wait for the end of a response after `[DONE]`: read to its end, the connection can be used again."""


def received(response: httpx.Response) -> Received:
    """The response read to its end, and closed. Raises `ProtocolError` when it does not end within `MAX_BODY`."""
    try:
        body = _Body(response)
        for data in response.iter_bytes():
            if body.is_enough(data):
                break
        return body.received()
    finally:
        response.close()


async def areceived(response: httpx.Response) -> Received:
    """The same, asynchronously."""
    pieces = cast("AsyncGeneratorType[bytes, None]", response.aiter_bytes())
    try:
        body = _Body(response)
        async for data in pieces:
            if body.is_enough(data):
                break
        return body.received()
    finally:
        await response.aclose()
        await run_out(pieces)


async def run_out(pieces: AsyncGeneratorType[bytes, None]) -> None:
    """Read a response to its end, for no more than `LINGER` seconds.

    httpx reads through a chain of generators. Running it to its end is what ends them all: closing the outermost leaves
    the others to the garbage collector, and trio complains.
    """
    if not pieces.ag_running:
        with suppress(*FAILURES), anyio.move_on_after(LINGER):
            async for _ in pieces:
                pass


class _Body:
    """A body while it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._data: list[bytes] = []
        self._size = 0
        if "," in response.headers.get("content-encoding", ""):
            raise ProtocolError(
                "the answer is compressed more than once, which a small body can use to fill the memory"
            )

    def is_enough(self, data: bytes) -> bool:
        """Take more; whether to stop reading."""
        self._data.append(data)
        self._size += len(data)
        if self._response.is_error:
            return self._size >= MAX_ERROR_BODY
        if self._size > MAX_BODY:
            raise ProtocolError(f"the answer is larger than {MAX_BODY >> 20} MiB")
        return False

    def received(self) -> Received:
        return Received(self._response.status_code, self._response.headers, b"".join(self._data))


@contextmanager
def hangup(response: httpx.Response) -> Iterator[None]:
    """Bounds the reading of a synchronous response to `LINGER` seconds, by shutting its socket down after that.

    httpx fixes the read timeout of a body when its reading begins, so a server that never ends it can be left in no
    other way.
    """
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is None:
        yield
        return
    timer = threading.Timer(LINGER, _shut_down, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already
