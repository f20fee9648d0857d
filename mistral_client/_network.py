"""Time on the way to the network: httpcore's connections with timeouts that run out.

httpcore takes the timeout of a read when it begins to read a body, and uses the same for each read. It hands its
network streams whatever it was given, so ours are given an `Attempt` and ask it, each time, for what is left.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, cast

import anyio
import httpcore
from httpcore import SOCKET_OPTION

from ._http_chunks import ChunkJoiner

GIVEN_UP = (httpcore.ReadError, httpcore.RemoteProtocolError)
"""How a connection breaks that the other end had closed before the request came."""

_HTTP = b"HTTP/"
_SHOWN = 40
_NAMES = ("connect", "read", "write")


class TimeLeft(float):
    """Seconds that something may still take: so many from when it begins, and never past a moment.

    As a number it is what was left when it was made, for a transport that goes by that. Called, it is what is left now;
    the first call is when it begins.

    until: the moment, on the clock of `time.monotonic`.
    """

    _seconds: float
    _until: float
    _began: float | None

    def __new__(cls, seconds: float, until: float) -> Self:
        """Not less than a millisecond, because 0 means something else to a socket."""
        self = super().__new__(cls, max(min(seconds, until - time.monotonic()), 0.001))
        self._seconds, self._until, self._began = seconds, until, None
        return self

    def __call__(self) -> float:
        """Seconds left; 0 or less when they are over."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        return min(self._began + self._seconds, self._until) - now

    def restart(self) -> None:
        """There was a sign of life: it begins anew."""
        self._began = None

    def cut(self, seconds: float) -> None:
        """Not more than so many seconds from now."""
        self._until = min(self._until, time.monotonic() + seconds)


class Attempt:
    """One request on its way through httpcore, in the place of each of its timeouts.

    connected: a connection was made for it. heard: the first bytes that came.
    """

    def __init__(self, timeouts: Mapping[str, float | None]) -> None:
        self.connected = False
        self.heard = b""
        self._timeouts = timeouts

    @classmethod
    def of(cls, timeout: object) -> Attempt:
        """The attempt that httpcore was given as a timeout."""
        return cast("Attempt", timeout)

    @property
    def timeouts(self) -> dict[str, Any]:
        """For httpcore, which passes them on."""
        return dict.fromkeys(_NAMES, self)

    def give_up_unless_stale(self, error: Exception) -> None:
        """What one of `GIVEN_UP` means here: returns where it met a kept connection that the server had given up.

        Nothing was answered, so the request was not accepted there and can be sent again. Raises the error otherwise,
        or a better one where what came cannot become a response.
        """
        if not _HTTP.startswith(self.heard[: len(_HTTP)]):
            raise httpcore.RemoteProtocolError(f"it begins with {self.heard!r}") from None
        if self.connected or self.heard:
            raise error

    def connect(self) -> float | None:
        """Seconds left to connect. Raises `httpcore.ConnectTimeout`."""
        self.connected = True
        return self._left("connect", httpcore.ConnectTimeout)

    def write(self) -> float | None:
        """Seconds left to send. Raises `httpcore.WriteTimeout`."""
        return self._left("write", httpcore.WriteTimeout)

    def read(self) -> float | None:
        """Seconds left to receive. Raises `httpcore.ReadTimeout`."""
        return self._left("read", httpcore.ReadTimeout)

    def _left(self, name: str, over: type[httpcore.TimeoutException]) -> float | None:
        left = self._timeouts.get(name)
        if isinstance(left, TimeLeft):
            left = left()
            if left <= 0:
                raise over("timed out")
        return left


class Stream(httpcore.NetworkStream):
    """A connection whose waits take what their attempt has left.

    A request leaves in one piece: httpcore writes its head, its body and, at its end, nothing; each would be a system
    call and a packet.

    first: the attempt that it was made for.
    """

    def __init__(self, stream: httpcore.NetworkStream, first: Attempt) -> None:
        self._stream = stream
        self._first = first
        self._unsent = b""
        self._joiner = ChunkJoiner()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if timeout is None:
            with self._handshake():
                return self._stream.read(max_bytes, self._first.connect())
        attempt = Attempt.of(timeout)
        while data := self._stream.read(max_bytes, attempt.read()):
            attempt.heard = attempt.heard or data[:_SHOWN]
            if data := self._joiner.feed(data):
                break
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if timeout is None:
            with self._handshake():
                return self._stream.write(buffer, self._first.connect())
        if buffer:
            self._unsent += buffer
            return None
        unsent, self._unsent = self._unsent, b""
        self._joiner = ChunkJoiner()
        # In pieces, or a peer that takes a byte now and then would start the socket's own clock again and again.
        for start in range(0, len(unsent), _PIECE):
            self._stream.write(unsent[start : start + _PIECE], Attempt.of(timeout).write())
        return None

    @contextmanager
    def _handshake(self) -> Iterator[None]:
        """Of a SOCKS proxy, which httpcore gives no timeout and, if it fails, does not close."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = Attempt.of(timeout).connect()
        return Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._first)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class AsyncStream(httpcore.AsyncNetworkStream):
    """The same, asynchronously."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, first: Attempt) -> None:
        self._stream = stream
        self._first = first
        self._unsent = b""
        self._joiner = ChunkJoiner()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if timeout is None:
            async with self._handshake():
                return await self._stream.read(max_bytes, self._first.connect())
        attempt = Attempt.of(timeout)
        while data := await self._stream.read(max_bytes, attempt.read()):
            attempt.heard = attempt.heard or data[:_SHOWN]
            if data := self._joiner.feed(data):
                break
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if timeout is None:
            async with self._handshake():
                return await self._stream.write(buffer, self._first.connect())
        if buffer:
            self._unsent += buffer
            return None
        unsent, self._unsent = self._unsent, b""
        self._joiner = ChunkJoiner()
        return await self._stream.write(unsent, Attempt.of(timeout).write())

    @asynccontextmanager
    async def _handshake(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        left = Attempt.of(timeout).connect()
        return AsyncStream(await self._stream.start_tls(ssl_context, server_hostname, left), self._first)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Backend(httpcore.NetworkBackend):
    """Connects within what an attempt has left, the look for the name included."""

    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        attempt = Attempt.of(timeout)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in _addresses(host, port, attempt):
            try:
                left = attempt.connect()
                return Stream(self._backend.connect_tcp(address, port, left, local_address, socket_options), attempt)
            except httpcore.ConnectError as error:
                failure = error
        raise failure


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """The same, asynchronously."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        attempt = Attempt.of(timeout)
        left = attempt.connect()
        return AsyncStream(await self._backend.connect_tcp(host, port, left, local_address, socket_options), attempt)


def _addresses(host: str, port: int, attempt: Attempt) -> Iterable[str]:
    """The addresses of a name. The look for them cannot be bounded but by leaving the thread that does it."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    found: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()
    threading.Thread(target=_look_up, args=(host, port, found), name=f"look up {host}", daemon=True).start()
    try:
        addresses = found.get(timeout=attempt.connect())
    except queue.Empty:
        raise httpcore.ConnectTimeout(f"the name {host} was not found in time") from None
    try:
        if isinstance(addresses, OSError):
            raise addresses
    except OSError as error:
        # Inside `except`: httpcore takes the cause away from what passes through it, but not the context.
        raise httpcore.ConnectError(str(error)) from error
    return addresses


def _look_up(host: str, port: int, found: queue.SimpleQueue[list[str] | OSError]) -> None:
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.put(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
    except OSError as error:
        found.put(error)


_PIECE = 64 * 1024
