"""Load and clients that leave, over real sockets. The numbers are the rows of the server's table of faults."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from mistral_client.cli.http_server import Server
from mistral_client.server.guard import Guard
from mistral_client.server.loading import Loaded
from tests.conftest import SOAK
from tests.server.test_app import EchoEngine, eventually, say


class Served:
    """The server as `mistral-client serve` runs it, in a thread."""

    def __init__(self, engine, **options):
        self.engine = engine
        options = {"guard": Guard(), "grace": 0, **options}
        self._server = Server(Loaded("echo", "Repeats.", engine), "critical", **options)
        self.app = self._server.config.app
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        eventually(lambda: self._server.started)

    @property
    def admission(self):
        return self.app.state.model.admission

    def idle(self):
        return self.engine.running == 0 and self.admission.running == 0 and self.admission.waiting == 0

    def close(self):
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def call(self, text, **headers):
        """A raw connection with a chat request on its way; keywords: stream, receive_buffer, key."""
        connection = socket.socket()
        if "receive_buffer" in headers:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, headers["receive_buffer"])
        connection.connect(self.address)
        body = json.dumps({"model": "echo", "messages": say(text), "stream": headers.get("stream", False)}).encode()
        key = f"idempotency-key: {headers['key']}\r\n" if "key" in headers else ""
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{key}"
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        return connection


@pytest.fixture
def serve():
    opened = []

    def make(engine, **options):
        opened.append(Served(engine, **options))
        return opened[-1]

    yield make
    for served in opened:
        served.close()


class ReadingEngine(EchoEngine):
    """Reads its prompt for ever, with a look at its listener now and then."""

    def generate(self, prompt, sampling, emit):
        from mistral_client.server.engine import GenerationCancelled, Piece

        with self.lock:
            self.running += 1
        try:
            while not emit(Piece("")):
                self.steps += 1
                time.sleep(self.pause)
            raise GenerationCancelled
        finally:
            with self.lock:
                self.running -= 1


@pytest.mark.parametrize("key", [False, True], ids=["plain", "with an idempotency key"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("engine_type", [EchoEngine, ReadingEngine], ids=["generation", "prompt"])
def test_row_10_a_client_that_leaves_frees_its_slot(serve, engine_type, stream, key):
    engine = engine_type(pause=0.002)
    server = serve(engine)
    for number in range(125 if SOAK else 8):
        before = engine.steps
        connection = server.call("forever and ever", stream=stream, **({"key": f"call {number}"} if key else {}))
        eventually(lambda before=before: engine.running == 1 and engine.steps > before)
        if number % 2:  # by a reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        eventually(server.idle)
    assert engine.steps < 400 * (number + 1)


def test_row_11_a_client_that_leaves_the_queue_never_runs(serve):
    engine = EchoEngine(pause=0.002)
    server = serve(engine)
    running = [server.call("forever", stream=True) for _ in range(2)]
    eventually(lambda: engine.running == 2)
    for number in range(250 if SOAK else 20):
        waiting = server.call("never", stream=bool(number % 2))
        eventually(lambda: server.admission.waiting == 1)
        waiting.close()
        eventually(lambda: server.admission.waiting == 0)
    for connection in running:
        connection.close()
    eventually(server.idle)
    assert not any("never" in prompt for prompt in engine.prompts)


@pytest.mark.parametrize("key", [{}, {"key": "slow"}], ids=["plain", "with an idempotency key"])
def test_row_9_a_client_that_does_not_read_frees_its_slot(serve, key):
    engine = EchoEngine()
    server = serve(engine, patience=0.3)
    word = "x" * 500
    connection = server.call("forever " + word, stream=True, receive_buffer=4096, **key)
    eventually(lambda: engine.running == 1)
    # Endless for this test: it never gets through all of it, because nobody reads.
    deadline = time.monotonic() + 20
    while not server.idle():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    connection.close()
    with httpx.Client(base_url=server.url) as http:
        assert http.get("/health").status_code == 200


def test_row_14_a_full_queue_says_when_to_come_again(serve):
    engine = EchoEngine(pause=0.005)
    server = serve(engine, queue=2)
    held = [server.call("forever") for _ in range(4)]
    eventually(lambda: server.admission.waiting == 2)
    times = []
    with httpx.Client(base_url=server.url) as http:
        for _ in range(100 if SOAK else 10):
            begun = time.perf_counter()
            answer = http.post("/v1/chat/completions", json={"model": "echo", "messages": say("x")})
            times.append(time.perf_counter() - begun)
            assert (answer.status_code, answer.json()["code"]) == (429, "3505")
            assert int(answer.headers["retry-after"]) >= 1
            assert "mistral-correlation-id" in answer.headers
    for connection in held:
        connection.close()
    assert sorted(times)[len(times) // 2] < (0.02 if SOAK else 0.5)


def test_row_46_the_queue_gets_503_when_the_server_ends(serve):
    engine = EchoEngine(pause=0.005)
    server = serve(engine)
    running = [server.call("forever") for _ in range(2)]
    eventually(lambda: engine.running == 2)
    waiting = server.call("x")
    eventually(lambda: server.admission.waiting == 1)
    server.admission.close()
    # Its waiters wake with the next event of the loop, which this request is.
    with httpx.Client(base_url=server.url) as http:
        assert http.post("/v1/chat/completions", json={"model": "echo", "messages": say("x")}).status_code == 503
    assert waiting.recv(65536).startswith(b"HTTP/1.1 503 ")
    for connection in [waiting, *running]:
        connection.close()
    eventually(server.idle)


def _resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_row_13_all_connections_are_answered(serve):
    """Each of many calls at once is answered or refused, with `/health` in between."""
    calls, rounds = (1000, 10) if SOAK else (100, 2)
    engine = EchoEngine(pause=0.001)
    server = serve(engine)
    health, memory = [], []
    done = threading.Event()

    def watch():
        with httpx.Client(base_url=server.url) as http:
            while not done.wait(0.01):
                begun = time.perf_counter()
                assert http.get("/health").status_code == 200
                health.append(time.perf_counter() - begun)

    def answer(connection):
        with connection:
            connection.settimeout(60)
            return int(connection.recv(65536).split()[1])

    with ThreadPoolExecutor(64) as pool:
        watching = pool.submit(watch)
        try:
            for _ in range(rounds):
                statuses = list(pool.map(answer, [server.call("a b c") for _ in range(calls)]))
                assert set(statuses) <= {200, 429}
                assert statuses.count(200) >= 2
                eventually(server.idle)
                if os.path.exists("/proc/self/statm"):
                    memory.append(_resident())
        finally:
            done.set()
        watching.result()
    print(
        f"health: worst {max(health) * 1000:.0f} ms, median {sorted(health)[len(health) // 2] * 1000:.1f} ms; {memory}"
    )
    assert engine.most_running <= 2
    assert sorted(health)[len(health) // 2] < (0.05 if SOAK else 1)
    if SOAK and memory:
        assert memory[-1] - memory[1] < 20 * 2**20
