"""The server in a process of its own, and calls of it over bare sockets, for what depends on time, memory and signals.

python -m tests.server.process     # as `mistral-client serve`, with an engine that repeats its words and waits
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from resource import RLIMIT_NOFILE, prlimit
from typing import Self

ROOT = Path(__file__).parents[2]
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Process:
    """The server, started with options of this module or, for a real model, of `mistral-client serve`."""

    def __init__(self, *options: object, real: bool = False, file_limit: int | None = None) -> None:
        module = ["mistral_client.cli", "serve"] if real else ["tests.server.process"]
        self.popen = subprocess.Popen(
            [sys.executable, "-m", *module, "--port", "0", *map(str, options)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        if file_limit is not None:  # long before it has imported what it runs
            prlimit(self.popen.pid, RLIMIT_NOFILE, (file_limit, file_limit))
        self._connections: list[socket.socket] = []
        line = ""
        while "export MISTRAL_ENDPOINT=" not in line:
            line = self.popen.stderr.readline()
            assert line, "the server did not start"
        self.address = ("127.0.0.1", int(line.rpartition(":")[2]))

    @property
    def cpu(self) -> float:
        """Seconds that it has computed."""
        with open(f"/proc/{self.popen.pid}/stat") as stat:
            fields = stat.read().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def files(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.popen.pid}/fd"))

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds."""
        with open(f"/proc/{self.popen.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def connect(self, message: bytes = b"") -> socket.socket:
        """A connection, which is closed with the server at the latest."""
        connection = socket.create_connection(self.address, timeout=30)
        self._connections.append(connection)
        connection.sendall(message)
        return connection

    def ask(self, message: bytes) -> bytes:
        """A whole answer, by a connection of its own."""
        with self.connect(message) as connection:
            return answer(connection)

    def metric(self, name: str) -> float:
        """A figure of `/metrics`."""
        text = self.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name}{{"))

    def wait_for(self, name: str, value: float, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while (found := self.metric(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {found}"
            time.sleep(0.01)

    def end(self) -> int:
        """Ends it, as Ctrl-C does; its exit code."""
        for connection in self._connections:
            connection.close()
        if self.popen.poll() is None:
            self.popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(20)
        self.popen.kill()
        self.popen.stderr.close()
        return self.popen.wait()


def request(text: str, *headers: str, **fields: object) -> bytes:
    """A chat request."""
    messages = [{"role": "user", "content": text}]
    return post("/v1/chat/completions", *headers, model="mistral-tiny", messages=messages, **fields)


def post(path: str, *headers: str, **fields: object) -> bytes:
    """A request with a body of these fields."""
    body = json.dumps(fields).encode()
    lines = ("Host: localhost", "Content-Type: application/json", *headers, f"Content-Length: {len(body)}", "", "")
    return "\r\n".join((f"POST {path} HTTP/1.1", *lines)).encode() + body


def answer(connection: socket.socket) -> bytes:
    """What comes until the answer is whole, or the connection ends."""
    received = b""
    while not is_whole(received) and (more := connection.recv(65536)):
        received += more
    return received


def is_whole(received: bytes) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if not separator:
        return False
    return len(body) >= lengths[0] if lengths else received.endswith(b"0\r\n\r\n")


@dataclass
class Call:
    """One of many calls: what came, and in how many seconds from its sending."""

    connection: socket.socket
    begun: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    received: bytes = b""

    @property
    def status(self) -> int:
        return int(self.received.split()[1]) if self.received else 0


def burst(address: tuple[str, int], message: bytes, count: int, seconds: float = 120.0) -> list[Call]:
    """So many calls at once, each by a connection of its own, until each is answered."""
    waiting = selectors.DefaultSelector()
    calls = []
    for _ in range(count):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(address)
        calls.append(Call(connection))
        waiting.register(connection, selectors.EVENT_WRITE, calls[-1])
    deadline = time.monotonic() + seconds
    while waiting.get_map() and time.monotonic() < deadline:
        for key, events in waiting.select(1):
            call: Call = key.data
            if events & selectors.EVENT_WRITE:
                call.begun = time.perf_counter()
                call.connection.sendall(message)
                waiting.modify(call.connection, selectors.EVENT_READ, call)
                continue
            try:
                more = call.connection.recv(65536)
            except ConnectionError:
                more = b""
            if not call.received:
                call.seconds = time.perf_counter() - call.begun
            call.received += more
            if not more or is_whole(call.received):
                waiting.unregister(call.connection)
                call.connection.close()
    for call in calls:
        call.connection.close()
    return calls


class Watch:
    """Asks `/health` again and again, from another process; `times` are there when the block is left."""

    def __init__(self, address: tuple[str, int], *, kept: bool = True) -> None:
        """kept: by one connection; else each time by one of its own."""
        self.times: list[float] = []
        self._popen = subprocess.Popen(
            [sys.executable, "-c", _WATCH, *map(str, address), str(int(kept))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._popen.stdout.readline() == "begun\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        output, _ = self._popen.communicate("end\n", timeout=60)
        self.times += json.loads(output)


_WATCH = f"""
import json, select, socket, sys, time
host, port, kept = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
times, connection = [], socket.create_connection((host, port), timeout=30) if kept else None
print("begun", flush=True)
while not select.select([sys.stdin], [], [], 0.01)[0]:
    begun = time.perf_counter()
    if connection is None:
        connection = socket.create_connection((host, port), timeout=30)
    connection.sendall({HEALTH!r})
    received = b""
    while not received.endswith(b"}}"):
        received += connection.recv(65536)
    times.append(time.perf_counter() - begun)
    assert received.startswith(b"HTTP/1.1 200 ")
    if not kept:
        connection.close()
        connection = None
print(json.dumps(times))
"""


@contextlib.contextmanager
def full(server: Process, message: bytes, places: int) -> Iterator[None]:
    """So many calls hold all slots and places of the server."""
    held = [server.connect(message) for _ in range(places)]
    deadline = time.monotonic() + 30
    while server.metric("vllm:num_requests_running") + server.metric("vllm:num_requests_waiting") < places:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    try:
        yield
    finally:
        for connection in held:
            connection.close()


def main() -> None:
    from mistral_client.cli.http_server import Server
    from mistral_client.server.engine import EngineError
    from mistral_client.server.guard import Guard
    from mistral_client.server.keys import Keys
    from mistral_client.server.loading import Loaded
    from mistral_client.server.models import Models
    from tests.server.test_app import EchoEngine

    class Engine(EchoEngine):
        """Stops at its next word when it is closed, as llama.cpp does, and remembers nothing."""

        def generate(self, prompt, sampling, emit):
            self.prompts.clear()
            self.samplings.clear()

            def told(piece):
                if self.closed:
                    raise EngineError("the engine is closed")
                return emit(piece)

            return super().generate(prompt, sampling, told)

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--grace", type=float, default=0.0)
    parser.add_argument("--patience", type=float, default=30.0)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds for each word")
    parser.add_argument("--reading", type=float, default=0.0, help="seconds in which nothing can stop the engine")
    parser.add_argument("--key", action="append", default=[])
    arguments = parser.parse_args()
    engine = Engine(pause=arguments.pause)
    engine.slots, engine.reading, engine.context_length = arguments.slots, arguments.reading, 8192
    with socket.create_server(("127.0.0.1", arguments.port)) as listener:
        server = Server(
            Models([Loaded("echo", "", engine)], queue=arguments.queue),
            "warning",
            guard=Guard(Keys(arguments.key)),
            grace=arguments.grace,
            patience=arguments.patience,
        )
        print(f"export MISTRAL_ENDPOINT=http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
        server.listen(listener)


if __name__ == "__main__":
    main()
