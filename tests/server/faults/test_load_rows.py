"""Load and clients that leave, over real sockets. The numbers are the rows of the server's table of faults."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time

import httpx
import pytest

from mistral_client.cli.http_server import Server
from mistral_client.server.admission import WAITING
from mistral_client.server.guard import Guard
from mistral_client.server.loading import Loaded
from mistral_client.server.models import Models
from tests.conftest import SOAK
from tests.server.test_app import EchoEngine, eventually, say


class Served:
    """The server as `mistral-client serve` runs it, in a thread."""

    def __init__(self, engine, *, queue=WAITING, **options):
        self.engine = engine
        options = {"guard": Guard(), "grace": 0, **options}
        self._server = Server(Models([Loaded("echo", "Repeats.", engine)], queue=queue), "critical", **options)
        self.app = self._server.config.app
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        eventually(lambda: self._server.started)

    @property
    def admission(self):
        return self.app.state.models._models[0].admission

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
    """1,000 of 1,000, over all kinds: the engine stops at its next step."""
    engine = engine_type(pause=0.01)
    server = serve(engine)
    late = 0
    for number in range(125 if SOAK else 8):
        before = engine.steps
        connection = server.call("forever and ever", stream=stream, **({"key": f"call {number}"} if key else {}))
        eventually(lambda before=before: engine.running == 1 and engine.steps > before)
        if number % 2:  # by a reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        here = engine.steps
        connection.close()
        eventually(server.idle)
        late += engine.steps - here
    # One step of 10 ms, and a second one where the system takes its time to tell of the close.
    assert late <= (2 if SOAK else 10) * (number + 1)


def test_row_11_a_client_that_leaves_the_queue_never_runs(serve):
    engine = EchoEngine(pause=0.02)
    server = serve(engine)
    running = [server.call("forever and ever", stream=True) for _ in range(2)]
    eventually(lambda: engine.running == 2)
    for number in range(1000 if SOAK else 20):
        waiting = server.call("never", stream=bool(number % 2))
        eventually(lambda: server.admission.waiting == 1)
        waiting.close()
        eventually(lambda: server.admission.waiting == 0)
    assert engine.running == 2
    for connection in running:
        connection.close()
    eventually(server.idle)
    assert not any("never" in prompt for prompt in engine.prompts)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_row_11_a_client_that_leaves_while_its_prompt_is_made_never_runs(serve, stream):
    """The threads that make prompts are waited for; no other prompt is made, and nothing is run."""

    class Slow(EchoEngine):
        tokenizing = begun = 0

        def tokenize(self, parts):
            Slow.begun += 1
            Slow.tokenizing += 1
            time.sleep(0.3)
            Slow.tokenizing -= 1
            return super().tokenize(parts)

    engine = Slow()
    server = serve(engine)
    connections = [server.call("forever and ever", stream=stream) for _ in range(6)]
    eventually(lambda: Slow.tokenizing == 2 and server.admission.waiting == 6)
    for connection in connections:
        connection.close()
    eventually(server.idle)
    assert engine.prompts == []
    assert (Slow.begun, Slow.tokenizing) == (2, 0)


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
