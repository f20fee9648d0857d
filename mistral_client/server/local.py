"""Local mode: httpx transports that run the server's application in this process, without a socket.

One server a process and model, in a thread of its own with its own event loop, started by the first request and closed
at exit. All clients share it, synchronous or not, from whatever thread and event loop; chunks come as they are
generated.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import anyio
import httpx
from anyio import to_thread
from anyio.from_thread import start_blocking_portal
from starlette.types import Message, Scope

from mistral_client.exceptions import LocalModelError

from .app import create_app
from .engine import EngineError
from .loading import Loaded, ModelSpec, load, name_of
from .mailbox import Mailbox
from .models import Models
from .weights import WeightsError

Deliver = Callable[[Message | None], object]
"""Takes what the application sends, in the server's thread; None when there is nothing more."""


def sync_transport(model: str) -> httpx.BaseTransport:
    """The transport of a synchronous client. Raises `LocalModelError` for a model that is not there."""
    return SyncTransport(_server(model))


def async_transport(model: str) -> httpx.AsyncBaseTransport:
    """The transport of an asynchronous client. Raises `LocalModelError` for a model that is not there."""
    return AsyncTransport(_server(model))


class LocalServer:
    """The application over one engine, in a thread of its own."""

    def __init__(self, load: Callable[[], Loaded]) -> None:
        self._load = load
        self._requests: set[Future[None]] = set()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._open: ExitStack | None = None
        self._ended = False
        # Not `atexit`: the interpreter joins all threads before it calls that, the event loop's workers too, and those
        # end only with their loop. Watched from the beginning, for native code that is still loading when the
        # interpreter goes brings the process down.
        threading.Thread(target=self._end_with_process, name="mistral-client local server, at exit").start()

    def start(self) -> None:
        """Load the model and start the thread, unless that is done. The default model is made first if need be.

        Raises `LocalModelError`.
        """
        if self._process != os.getpid():
            # A forked child has the memory of its parent's server, but not its threads. Freed, it would wait for them.
            self._inherited = self._open
            self._begin()
        with self._lock:
            if self._open is not None:
                return
            if self._ended:
                raise LocalModelError("the local server does not start while the process ends")
            try:
                with ExitStack() as opened:
                    # In the caller's thread, where Ctrl-C reaches it.
                    loaded = self._load()
                    opened.callback(loaded.engine.close)
                    self._app = create_app(models=Models([loaded]))
                    self._portal = opened.enter_context(start_blocking_portal(name="mistral-client local server"))
                    lifespan = self._app.router.lifespan_context(self._app)
                    opened.enter_context(self._portal.wrap_async_context_manager(lifespan))
                    opened.callback(self._leave)
                    self._open = opened.pop_all()
            except (WeightsError, EngineError) as error:
                raise LocalModelError(str(error)) from error

    def handle(self, request: httpx.Request, body: bytes, deliver: Deliver) -> Callable[[], object]:
        """Run one request; what the application answers goes to `deliver`. Call the result to leave."""
        try:
            future = self._portal.start_task_soon(self._run, _scope(request), body, deliver)
        except RuntimeError:
            raise httpx.ConnectError("the local server is closed") from None
        self._requests.add(future)
        future.add_done_callback(self._requests.discard)
        return future.cancel

    def close(self) -> None:
        """End what runs, then the thread, then the engine."""
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    def _leave(self) -> None:
        for future in list(self._requests):
            future.cancel()

    def _end_with_process(self) -> None:
        threading.main_thread().join()
        self._ended = True
        self.close()

    async def _run(self, scope: Scope, body: bytes, deliver: Deliver) -> None:
        unread = [body]

        async def receive() -> Message:
            if not unread:
                await anyio.sleep_forever()  # who leaves cancels
            return {"type": "http.request", "body": unread.pop(), "more_body": False}

        async def send(message: Message) -> None:
            try:
                deliver(message)
            except RuntimeError:
                there.cancel()  # the event loop of who asked has ended, and nobody is there to be told

        with anyio.CancelScope() as there:
            try:
                await self._app(scope, receive, send)
            finally:
                with suppress(RuntimeError):
                    deliver(None)


_servers: dict[str, LocalServer] = {}
_servers_lock = threading.Lock()


def _server(model: str) -> LocalServer:
    try:
        name = name_of(model)
    except WeightsError as error:
        raise LocalModelError(str(error)) from error
    with _servers_lock:
        if name not in _servers:
            _servers[name] = LocalServer(partial(load, ModelSpec(name)))
        return _servers[name]


def _scope(request: httpx.Request) -> dict[str, Any]:
    """https://asgi.readthedocs.io/en/latest/specs/www.html#http-connection-scope"""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": None,
        "server": (request.url.host, request.url.port),
        "state": {},
    }


def _read_timeout(request: httpx.Request) -> Callable[[], float | None]:
    """Seconds to wait for more, asked anew each time: our clients' own timeouts know what is left of them."""
    seconds = request.extensions.get("timeout", {}).get("read")
    return (lambda: max(seconds(), 0.0)) if callable(seconds) else (lambda: seconds)


def _response(start: Message | None, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> httpx.Response:
    if start is None:
        raise httpx.RemoteProtocolError("the local server ended without an answer")
    return httpx.Response(start["status"], headers=start["headers"], stream=stream)


class SyncTransport(httpx.BaseTransport):
    """Hands requests to a local server, which the first of them starts."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._server.start()
        body = _SyncBody(_read_timeout(request))
        body.leave = self._server.handle(request, request.read(), body.deliver)
        try:
            return _response(body.next(), body)
        except BaseException:
            body.leave()
            raise


class _SyncBody(httpx.SyncByteStream):
    def __init__(self, timeout: Callable[[], float | None]) -> None:
        self._timeout = timeout
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.deliver = self._messages.put
        self.leave: Callable[[], object]

    def next(self) -> Message | None:
        try:
            return self._messages.get(timeout=self._timeout())
        except queue.Empty:
            raise httpx.ReadTimeout("the local server is silent") from None

    def __iter__(self) -> Iterator[bytes]:
        while (message := self.next()) is not None:
            yield message["body"]

    def close(self) -> None:
        self.leave()


class AsyncTransport(httpx.AsyncBaseTransport):
    """Hands requests to a local server, which the first of them starts; for asyncio and trio."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await to_thread.run_sync(self._server.start)
        body = _AsyncBody(_read_timeout(request))
        body.leave = self._server.handle(request, await request.aread(), body.deliver)
        try:
            return _response(await body.next(), body)
        except BaseException:
            body.leave()
            raise


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, timeout: Callable[[], float | None]) -> None:
        self._timeout = timeout
        self._messages = Mailbox[Message | None]()
        self.deliver = self._messages.put
        self.leave: Callable[[], object]

    async def next(self) -> Message | None:
        try:
            with anyio.fail_after(self._timeout()):
                return await self._messages.take()
        except TimeoutError:
            raise httpx.ReadTimeout("the local server is silent") from None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.next()) is not None:
            yield message["body"]

    async def aclose(self) -> None:
        self.leave()
