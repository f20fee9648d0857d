"""One behaviour is written once and run three times: synchronous, on asyncio and on trio."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings

from mistral_client import MistralAsyncClient, MistralClient

pytest_plugins = ["pytester", "mistral_client.testing.plugin"]

# A shell has its background jobs ignore Ctrl-C, and their children inherit that; the tests of Ctrl-C are about programs
# that were started as usual.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does. `make bench` is for times.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

SOAK = bool(os.environ.get("MISTRAL_SOAK"))
"""Long loops run whole, and times are held to the promise: `make soak`."""

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer has set must not decide what is tested."""
    for name in [*os.environ]:
        if name.startswith("MISTRAL_") or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)


class Blocking:
    """An async client seen through a portal, so that one test body serves both kinds."""

    def __init__(self, portal: BlockingPortal, client: MistralAsyncClient) -> None:
        self._portal = portal
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name in {"chat_stream", "completion_stream"}:
            return lambda *args, **options: BlockingStream(
                self._portal, self._portal.call(lambda: _now(method(*args, **options)))
            )
        if name == "with_options":
            return lambda **options: Blocking(self._portal, method(**options))
        return lambda *args, **options: self._portal.call(lambda: method(*args, **options))

    def __repr__(self) -> str:
        return repr(self._client)


async def _now(value: Any) -> Any:
    return value


class BlockingStream:
    def __init__(self, portal: BlockingPortal, stream: Any) -> None:
        self._portal = portal
        self._stream = stream

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self._portal.call(self._stream.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Self:
        self._portal.call(self._stream.__aenter__)
        return self

    def __exit__(self, *_: object) -> None:
        self._portal.call(self._stream.__aexit__, None, None, None)

    def partials(self) -> Iterator[Any]:
        return iter(BlockingStream(self._portal, self._stream.partials()))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._stream, name)
        if not callable(value):
            return value
        return lambda *args: self._portal.call(value, *args)

    @property
    def rate_limit(self) -> Any:
        return self._stream.rate_limit


@pytest.fixture(params=["sync", "asyncio", "trio"])
def flavour(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make_client(flavour: str) -> Iterator[Callable[..., Any]]:
    """Makes clients of one flavour; they are closed with the test."""
    with contextlib.ExitStack() as closing:
        if flavour == "sync":

            def make(*args: Any, **options: Any) -> Any:
                return closing.enter_context(MistralClient(*args, **options))

        else:
            portal = closing.enter_context(start_blocking_portal(flavour))

            def make(*args: Any, **options: Any) -> Any:
                client = MistralAsyncClient(*args, **options)
                closing.callback(portal.call, client.close)
                return Blocking(portal, client)

        yield make


Script = list[bytes | float | Callable[[socket.socket], object] | None]


class RawServer:
    """A server of raw bytes on loopback: answers its n-th request by its n-th script, the last one again and again.

    A script is a list of bytes to send, seconds to pause, and functions of the connection. It ends by closing the
    connection, unless it ends in None: then the connection is kept for the next request.
    """

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._open)

    def script_for(self, request: bytes) -> Script:
        script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
        self.requests.append(request)
        return script

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in [*self._open]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            self._threads.append(threading.Thread(target=self._serve, args=[connection]))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            kept = True
            while kept and (request := _read_request(connection)):
                script = self.script_for(request)
                kept = False
                for step in script:
                    if isinstance(step, bytes):
                        connection.sendall(step)
                    elif step is None:
                        kept = True
                    elif callable(step):
                        step(connection)
                    else:
                        self._closing.wait(step)
        self._open.discard(connection)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return b""
        data += more
        if data.startswith(b"\x16"):  # a TLS handshake, which never holds an empty line
            return data
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    with contextlib.ExitStack() as closing:

        def make(*scripts: Script) -> RawServer:
            server = RawServer(*scripts)
            closing.callback(server.close)
            return server

        yield make


class HTTPServer(ThreadingHTTPServer):
    """A server on loopback whose answer to a request is that of a function.

    The function is given the request, whose `body` was read, in a thread of its own; it returns status, JSON and, if it
    likes, headers.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Callable[..., tuple[Any, ...]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answer = answer
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[_Answering] = []
        self.lock = threading.Lock()
        self.running = self.most = 0  # requests at a time

    def handle_error(self, *_: object) -> None:
        """Clients that left."""


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HTTPServer
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "null")
        request = copy.copy(self)
        with self.server.lock:
            self.server.requests.append(request)
            self.server.running += 1
            self.server.most = max(self.server.most, self.server.running)
        try:
            status, body, *headers = self.server.answer(request)
        finally:
            with self.server.lock:
                self.server.running -= 1
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": len(data),
            **(headers or [{}])[0],
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def http_server() -> Iterator[Callable[..., HTTPServer]]:
    with contextlib.ExitStack() as closing:

        def make(answer: Callable[..., tuple[Any, ...]]) -> HTTPServer:
            server = closing.enter_context(HTTPServer(answer))
            thread = threading.Thread(target=server.serve_forever, args=[0.01])
            thread.start()
            closing.callback(thread.join)
            closing.callback(server.shutdown)
            return server

        yield make


def http(body: bytes, status: str = "200 OK", content_type: str = "application/json", *headers: str) -> bytes:
    """The bytes of a whole response."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked_head(content_type: str = "text/event-stream; charset=utf-8") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def reset(connection: socket.socket, call: str = "") -> None:
    """Have the connection closed so that the other end sees a reset and not an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture(scope="session")
def baby(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mixtral of two small layers, written in a second."""
    from mistral_client.server.weights.baby import write_gguf

    return write_gguf(tmp_path_factory.mktemp("baby") / "baby.gguf")
