"""httpx transports over httpcore's connection pools, with what httpx's own cannot be told.

- Waits take what is left of a call's time (`_network`).
- A kept connection that the server has just given up costs nothing: the request goes out again on another.
- Requests queue here and not in httpcore's pool, which loses a place when one is cancelled while it waits there.
- A pool has one connection, so that many cost no more than one.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, Generic, Self, TypeVar, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import certifi
import httpcore
import httpx

from ._config import Config
from ._network import GIVEN_UP, AsyncBackend, Attempt, Backend
from .exceptions import ConfigurationError

PoolT = TypeVar("PoolT")

KEPT = 30.0
"""Seconds that an idle connection is kept."""


class PoolTransport(httpx.BaseTransport):
    """The connections of a synchronous client in one process. Raises `ConfigurationError` as `_options` does."""

    def __init__(self, config: Config, max_connections: int) -> None:
        self._pools = _Pools(partial(httpcore.ConnectionPool, **_options(config), network_backend=Backend()))
        self._places = threading.BoundedSemaphore(max_connections)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        timeouts = request.extensions["timeout"]
        if not self._places.acquire(timeout=timeouts["pool"]):
            raise httpx.PoolTimeout("no connection of the pool became free")
        pool = self._pools.take()

        def leave() -> None:
            self._pools.give_back(pool)
            self._places.release()

        try:
            for unused in self._pools.unused():
                unused.close()
                self._pools.forget(unused)
            response = self._send(pool, request)
        except BaseException:
            leave()
            raise
        return _response(response, Body(response, leave))

    def close(self) -> None:
        for pool in self._pools.all():
            pool.close()

    def _send(self, pool: httpcore.ConnectionPool, request: httpx.Request) -> httpcore.Response:
        while True:
            attempt = Attempt(request.extensions["timeout"])
            try:
                return pool.handle_request(_request(request, attempt))
            except GIVEN_UP as error:
                attempt.give_up_unless_stale(error)


class AsyncPoolTransport(httpx.AsyncBaseTransport):
    """The connections of an asynchronous client in one event loop. Raises `ConfigurationError` as `_options` does."""

    def __init__(self, config: Config, max_connections: int) -> None:
        self._pools = _Pools(partial(httpcore.AsyncConnectionPool, **_options(config), network_backend=AsyncBackend()))
        self._places = anyio.Semaphore(max_connections, max_value=max_connections, fast_acquire=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts = request.extensions["timeout"]
        with anyio.move_on_after(timeouts["pool"]) as waiting:
            await self._places.acquire()
        if waiting.cancelled_caught:
            raise httpx.PoolTimeout("no connection of the pool became free")
        pool = self._pools.take()

        def leave() -> None:
            self._pools.give_back(pool)
            self._places.release()

        try:
            for unused in self._pools.unused():
                await unused.aclose()
                self._pools.forget(unused)
            response = await self._send(pool, request)
        except BaseException:
            leave()
            raise
        return _response(response, AsyncBody(response, leave))

    async def aclose(self) -> None:
        for pool in self._pools.all():
            await pool.aclose()

    async def _send(self, pool: httpcore.AsyncConnectionPool, request: httpx.Request) -> httpcore.Response:
        while True:
            attempt = Attempt(request.extensions["timeout"])
            try:
                return await pool.handle_async_request(_request(request, attempt))
            except GIVEN_UP as error:
                attempt.give_up_unless_stale(error)


class _Pools(Generic[PoolT]):
    """Pools for one request at a time, and so for one connection each; the one that was used last is taken first.

    httpcore's pool looks at all of its connections for each request, and for each that is idle at all of them again:
    with fifty that is 4 ms a request.
    """

    def __init__(self, make: Callable[[], PoolT]) -> None:
        self._make = make
        self._all: set[PoolT] = set()
        self._free: deque[tuple[PoolT, float]] = deque()
        self._lock = threading.Lock()

    def take(self) -> PoolT:
        with self._lock:
            if self._free:
                return self._free.pop()[0]
            pool = self._make()
            self._all.add(pool)
            return pool

    def give_back(self, pool: PoolT) -> None:
        with self._lock:
            self._free.append((pool, time.monotonic()))

    def unused(self) -> list[PoolT]:
        """Those whose connections were kept for long enough, to be closed and then forgotten."""
        oldest = time.monotonic() - KEPT
        found = []
        with self._lock:
            while self._free and self._free[0][1] < oldest:
                found.append(self._free.popleft()[0])
        return found

    def forget(self, pool: PoolT) -> None:
        with self._lock:
            self._all.discard(pool)

    def all(self) -> list[PoolT]:
        with self._lock:
            return [*self._all]


class _Body:
    """The bytes of a response; closed, it gives its place in the queue to the next."""

    def __init__(self, response: httpcore.Response, leave: Callable[[], object]) -> None:
        self._stream = cast("Any", response.stream)
        self._leave: Callable[[], object] | None = leave


class Body(_Body, httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            try:
                self._stream.close()
            finally:
                leave()


class AsyncBody(_Body, httpx.AsyncByteStream):
    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            try:
                await self._stream.aclose()
            finally:
                leave()


class _Content:
    """The bytes of a request. Not a generator: one that httpcore leaves half-way would wait for the collector."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        return iter([self._data])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._data)


class _Once:
    def __init__(self, data: bytes) -> None:
        self._left = [data]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def _request(request: httpx.Request, attempt: Attempt) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        request.method,
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=_Content(request.content),
        extensions={**request.extensions, "timeout": attempt.timeouts},
    )


def _response(response: httpcore.Response, body: Body | AsyncBody) -> httpx.Response:
    return httpx.Response(
        response.status, headers=response.headers, stream=body, extensions=cast("dict[str, Any]", response.extensions)
    )


def _options(config: Config) -> dict[str, Any]:
    """The arguments with which both transports build their pools.

    Raises `ConfigurationError` for what the environment says of proxies and certificates.
    """
    secure = config.base_url.startswith("https:")
    wrong = None
    try:
        proxy = _proxy(config) if config.trust_env else None
        context = _ssl_context(*_certificates(config.trust_env)) if secure else None
    except httpx.InvalidURL:
        wrong = "a proxy is no URL"  # the error's own words may show its password
    except (ValueError, ImportError, OSError) as error:
        wrong = str(error)
    if wrong is not None:
        raise ConfigurationError(f"the environment's proxies or certificates cannot be used: {wrong}")
    return {"ssl_context": context, "proxy": proxy, "max_connections": None, "keepalive_expiry": KEPT}


def _proxy(config: Config) -> httpcore.Proxy | None:
    """The proxy that the environment names for this server; never one for what stays on this machine."""
    url = urlsplit(config.base_url)
    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or config.is_loopback or proxy_bypass(url.netloc):
        return None
    proxy = httpx.Proxy(named if "://" in named else f"http://{named}")
    if proxy.url.scheme.startswith("socks"):
        import_module("socksio")  # raises ImportError now and not at the first request
    target = httpcore.URL(
        scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
    )
    return httpcore.Proxy(target, auth=proxy.raw_auth)


def _certificates(trust_env: bool) -> tuple[str | None, ...]:
    """What of the environment decides a TLS context; None in the first place: nothing."""
    return tuple(os.environ.get(name, "") for name in _TLS_VARIABLES) if trust_env else (None,)


@lru_cache(8)
def _ssl_context(*environment: str | None) -> ssl.SSLContext:
    """One context for all clients that it fits: to build one takes longer than to build a client."""
    if environment != (None,):
        return httpx.create_ssl_context()
    # What httpx builds, but for the keys that Python's default context writes where SSLKEYLOGFILE says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    return context


_TLS_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
