"""Clients among threads, tasks, event loops and processes: nobody gets another's answer, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import socketserver
import subprocess
import sys
import textwrap
import threading
import warnings

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from mistral_client import MistralAsyncClient, MistralException, RequestTimeout, ServerError

from .conftest import HELLO, SOAK, Blocking, chunk, chunked_head, http
from .test_chunks import EVENTS, TEXT
from .test_clients import KEY, OK, STREAM, text_of
from .test_exchange import ANSWER


class Echo(socketserver.ThreadingTCPServer):
    """Answers each chat with the prompt that it was asked, now and then after a moment.

    Asked for "down" it answers 503, and asked for "hang" it does not answer; a stream has no end.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    class Connection(socketserver.StreamRequestHandler):
        def handle(self):
            while line := self.rfile.readline():
                length = 0
                while (line := self.rfile.readline()).strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = json.loads(self.rfile.read(length))
                content = body["messages"][0]["content"]
                if content == "down":
                    self.server.refused += 1
                    self.wfile.write(http(b"{}", "503 Service Unavailable"))
                    continue
                if content == "hang" or body.get("stream"):
                    begin = [chunked_head(), *map(chunk, EVENTS[:2])] if body.get("stream") else []
                    self.wfile.write(b"".join(begin))
                    self.rfile.read(1)
                    return
                if self.server.pause:
                    threading.Event().wait(random.random() * self.server.pause)
                choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
                try:
                    self.wfile.write(http(json.dumps(ANSWER | {"choices": [choice]}).encode()))
                except OSError:
                    return

    def __init__(self, pause=0.0):
        self.pause = pause
        self.refused = 0
        super().__init__(("127.0.0.1", 0), self.Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def handle_error(self, request, client_address):
        """Who leaves is no fault of the server."""

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()


def asked(name):
    return [{"role": "user", "content": name}]


def answered(response):
    return response.choices[0].message.content


# Each program has a process of its own: it must end by itself, without a word and with nothing left running.
ASK = """
import asyncio, os, sys, threading
from mistral_client import MistralAsyncClient, MistralClient

URL, CALLS = sys.argv[1], int(sys.argv[2])
wrong = []

def asked(name):
    return [{"role": "user", "content": name}], "m"

def check(name, answer):
    if answer.choices[0].message.content != name:
        wrong.append(name)

def ask(client, who):
    for i in range(CALLS):
        check(f"{who} {i}", client.chat(*asked(f"{who} {i}")))
"""

THREADS = """
with MistralClient("key", URL) as client:
    threads = [threading.Thread(target=ask, args=[client, i]) for i in range(32)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
sys.exit(bool(wrong))
"""

LOOPS = """
client = MistralAsyncClient("key", URL)

async def one(name):
    check(name, await client.chat(*asked(name)))

async def many(loop):
    await asyncio.gather(*[one(f"{loop} {i}") for i in range(CALLS)])
    await client.close()

for loop in range(10):
    asyncio.run(many(loop))
sys.exit(bool(wrong))
"""

FORKS = """
client = MistralClient("key", URL)
ask(client, "before")
children = []
for child in range(8):
    pid = os.fork()
    if pid == 0:
        ask(client, f"child {child}")
        os._exit(bool(wrong))
    children.append(pid)
ask(client, "parent")
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
client.close()
sys.exit(bool(wrong) or any(codes))
"""


@pytest.mark.parametrize(
    ("program", "calls"),
    [
        pytest.param(THREADS, 200 if SOAK else 20, id="32 threads"),
        pytest.param(LOOPS, 200 if SOAK else 20, id="ten event loops"),
        pytest.param(
            FORKS,
            1_000 if SOAK else 60,
            id="a parent and eight children",
            marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
        ),
    ],
)
def test_everybody_gets_their_own_answers(program, calls):
    with Echo(0.005) as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", ASK + program, server.url, str(calls)],
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert (done.returncode, done.stderr) == (0, "")


def descriptors():
    gc.collect()
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancellations_leave_nothing_behind(backend):
    """Twenty tasks on ten connections, each cancelled at some point of its way, or not."""
    rounds = 250 if SOAK else 15
    dice = random.Random(2024)
    ended = {"cancelled": 0, "answered": 0}

    async def ask(client, name):
        with anyio.move_on_after(dice.random() * 0.06) as scope:
            assert answered(await client.chat(asked(name), "m")) == name
        ended["cancelled" if scope.cancelled_caught else "answered"] += 1

    async def run():
        async with MistralAsyncClient(KEY, server.url, 0, 10, 10) as client:
            for i in range(rounds):
                async with anyio.create_task_group() as tasks:
                    for j in range(20):
                        tasks.start_soon(ask, client, f"{i} {j}")
            # Every place is free: so many can talk at once, and as they do, none is left.
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    for j in range(10):
                        tasks.start_soon(client.chat, asked(f"last {j}"), "m")
            if backend == "asyncio":
                assert len(asyncio.all_tasks()) == 1

    with Echo(0.02) as server:
        anyio.run(run, backend=backend)
        before = descriptors()
        anyio.run(run, backend=backend)
    assert descriptors() <= before
    assert sum(ended.values()) == 2 * rounds * 20
    assert min(ended.values()) > rounds // 4


class Held:
    """Sends the head of a stream and some of it, and tells when the other end has gone."""

    def __init__(self):
        self.gone = threading.Event()

    def __call__(self, connection):
        connection.settimeout(10)
        if connection.recv(1) == b"":
            self.gone.set()


def test_a_stream_that_is_dropped_frees_its_connection_and_says_so(make_client, raw_server):
    held = Held()
    server = raw_server([chunked_head(), *map(chunk, EVENTS[:2]), held])
    client = make_client(KEY, server.url)
    stream = client.chat_stream(HELLO, "m")
    next(stream)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del stream
        gc.collect()
        assert held.gone.wait(5)
    assert [warning.category for warning in said] == [ResourceWarning]
    assert "before its end" in str(said[0].message)


def test_a_stream_that_is_never_started_says_so(make_client):
    client = make_client(KEY, "http://127.0.0.1:9")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        client.chat_stream(HELLO, "m")
        gc.collect()
    assert [warning.category for warning in said] == [ResourceWarning]


def test_a_stream_that_was_read_or_closed_or_failed_says_nothing(make_client, raw_server):
    server = raw_server(STREAM)
    client = make_client(KEY, server.url, 0)
    assert text_of(client.chat_stream(HELLO, "m")) == TEXT
    client.chat_stream(HELLO, "m").close()
    with client.chat_stream(HELLO, "m") as stream:
        next(stream)
    server.close()
    with pytest.raises(MistralException):
        list(client.chat_stream(HELLO, "m"))
    with pytest.raises(MistralException), client.chat_stream(HELLO, "m"):
        pass
    del stream
    gc.collect()


ENDINGS = {
    "with a client that was not closed": "client.chat(HELLO, 'm')",
    "with a stream left open": "stream = client.chat_stream(HELLO, 'm')",
    "with an async client that was not closed": """
        async def ask():
            await aclient.chat(HELLO, 'm')
        asyncio.run(ask())
    """,
    "with an async stream left open": """
        async def ask():
            async for chunk in aclient.chat_stream(HELLO, 'm', max_retries=0):
                break
        with suppress(MistralException):
            asyncio.run(ask())
    """,
}


@pytest.mark.parametrize("program", ENDINGS.values(), ids=ENDINGS)
def test_the_interpreter_ends_cleanly(raw_server, program):
    server = raw_server([OK, None])
    begin = """
        import asyncio, sys
        from contextlib import suppress
        from mistral_client import MistralAsyncClient, MistralClient, MistralException
        HELLO = [{"role": "user", "content": "hello"}]
        client, aclient = MistralClient("key", sys.argv[1]), MistralAsyncClient("key", sys.argv[1])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(begin) + textwrap.dedent(program), server.url],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")


class Client(RuleBasedStateMachine):
    """What a client is put through, in any order: it has three places and a budget, and loses count of neither."""

    def __init__(self):
        super().__init__()
        self.closing = contextlib.ExitStack()
        self.server = self.closing.enter_context(Echo())
        self.portal = self.closing.enter_context(start_blocking_portal())
        client = MistralAsyncClient(KEY, self.server.url, 0, 5, 3)
        self.client = Blocking(self.portal, client)
        self.closing.callback(self.portal.call, client.close)
        self.streams = []
        self.tokens = 4

    def teardown(self):
        [stream.close() for stream in self.streams]
        self.closing.close()

    def has_a_place(self):
        return len(self.streams) < 3

    @rule(name=st.text(max_size=5))
    @precondition(has_a_place)
    def ask(self, name):
        assert answered(self.client.chat(asked("so " + name), "m")) == "so " + name
        self.tokens = min(self.tokens + 1, 48)

    @rule()
    @precondition(has_a_place)
    def ask_in_vain(self):
        before = self.server.refused
        with pytest.raises(ServerError) as raised:
            self.client.chat(asked("down"), "m", max_retries=1)
        retries = min(self.tokens, 1)
        assert raised.value.attempts == self.server.refused - before == 1 + retries
        self.tokens -= retries

    @rule(seconds=st.floats(0, 0.01))
    @precondition(has_a_place)
    def cancel(self, seconds):
        async def ask():
            with anyio.move_on_after(seconds):
                await self.client._client.chat(asked("hang"), "m")

        self.portal.call(ask)

    @rule()
    @precondition(has_a_place)
    def hold(self):
        stream = self.client.chat_stream(asked("on"), "m")
        next(stream)
        self.streams.append(stream)
        self.tokens = min(self.tokens + 1, 48)

    @rule(first=st.booleans(), cut=st.booleans())
    @precondition(lambda self: self.streams)
    def let_go(self, first, cut):
        stream = self.streams.pop(0 if first else -1)
        if cut:
            self.portal.call(self.leave, stream._stream)
        stream.close()

    async def leave(self, stream):
        with anyio.move_on_after(0.001):
            async for _ in stream:
                pass

    @rule(seconds=st.sampled_from([0.001, 0.02]))
    @precondition(lambda self: not self.has_a_place())
    def find_no_place(self, seconds):
        with pytest.raises(RequestTimeout, match="pool"):
            self.client.chat(HELLO, "m", timeout=seconds)


TestClient = Client.TestCase
TestClient.settings = settings(max_examples=200 if SOAK else 10, stateful_step_count=25, deadline=None)
