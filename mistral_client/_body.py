"""Bodies of responses: read within bounds, and, where it can be had soon, to their end."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import AsyncGeneratorType
from typing import Any, cast

import anyio
import httpx

from ._config import Limits
from ._content_coding import decoder
from ._exchange import Received
from ._network import Stream, TimeLeft
from ._transport import FAILURES
from .exceptions import ProtocolError

LINGER = 0.05
"""Seconds to wait for the end of a response after `[DONE]`: read to its end, the connection can be used again."""


def raw(response: httpx.Response) -> Iterator[bytes]:
    """The bytes of the body as they come from the network."""
    return iter(cast("Iterable[bytes]", response.stream))


def araw(response: httpx.Response) -> AsyncGeneratorType[bytes, None]:
    """The same, asynchronously."""
    return cast("AsyncGeneratorType[bytes, None]", aiter(cast("AsyncGenerator[bytes, None]", response.stream)))


def received(response: httpx.Response, limits: Limits) -> Received:
    """The response read to its end, and closed. Raises `ProtocolError` when it does not end within the limit."""
    try:
        body = _Body(response, limits)
        for data in raw(response):
            if body.is_enough(data):
                break
        return body.received()
    finally:
        response.close()


async def areceived(response: httpx.Response, limits: Limits) -> Received:
    """The same, asynchronously."""
    pieces = araw(response)
    try:
        body = _Body(response, limits)
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
    if pieces.ag_frame is not None and not pieces.ag_running:  # without a frame it has ended
        with suppress(*FAILURES), anyio.move_on_after(LINGER):
            async for _ in pieces:
                pass


def close_soon(loop: Any, close: Callable[[], Coroutine[object, object, None]]) -> None:
    """Have an event loop close something, from wherever the garbage collector runs."""
    with suppress(RuntimeError):  # the loop has ended, and its connections with it
        if hasattr(loop, "create_task"):  # asyncio's, which a synchronous client does not import
            loop.call_soon_threadsafe(lambda: loop.create_task(close()))
        else:

            def spawn() -> None:
                with suppress(RuntimeError):  # it is ending
                    sys.modules["trio"].lowlevel.spawn_system_task(close)

            loop.run_sync_soon(spawn)


class _Body:
    """A body while it comes."""

    def __init__(self, response: httpx.Response, limits: Limits) -> None:
        self._response = response
        self._limit = limits.error if response.is_error else limits.response
        self._decompress = decoder(response.headers.get("content-encoding", ""))
        self._data: list[bytes] = []
        self._size = 0

    def is_enough(self, data: bytes) -> bool:
        """Take more; whether to stop reading."""
        for piece in self._decompress(data):
            self._data.append(piece)
            self._size += len(piece)
            if self._limit is not None and self._size > self._limit:
                if self._response.is_error:
                    return True
                raise ProtocolError(f"the answer is larger than {self._limit} bytes")
        return False

    def received(self) -> Received:
        content = b"".join(self._data)
        if self._response.is_error:
            content = content[: self._limit]
        return Received(self._response.status_code, self._response.headers, content)


@contextmanager
def hangup(response: httpx.Response) -> Iterator[None]:
    """Bounds the reading of a synchronous response to `LINGER` seconds.

    A transport of the user's own fixes the read timeout of a body when its reading begins, so a server that never ends
    it can be left in no other way than by shutting its socket down.
    """
    stream = response.extensions.get("network_stream")
    left = response.request.extensions["timeout"]["read"]
    if isinstance(stream, Stream) and isinstance(left, TimeLeft):
        left.cut(LINGER)
        yield
        return
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
