"""Flows, followed by both clients: several calls at once, over real sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import threading
import time

import anyio
import pytest

from mistral_client import ArgumentError, AuthenticationError, MistralAsyncClient, MistralClient, NotFoundError
from mistral_client._calls import retrieve_model
from mistral_client._flow import Run, Together

BUSY = 429, {"message": "busy"}, {"Retry-After": "40"}


def model_of(request):
    return request.path.rpartition("/")[2]


def card(request):
    return 200, {"id": model_of(request), "object": "model"}


def asks(name, ended=None):
    """A flow of one call."""
    try:
        answer = yield retrieve_model(str(name), {})
        return answer.id
    finally:
        if ended is not None:
            ended.append(name)


def together(flows, at_most, done):
    yield Together(flows, at_most, done)
    return "followed"


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("mistral_client")]


def test_so_many_run_at_a_time_and_each_result_has_its_place(make_client, http_server):
    three = threading.Barrier(3)

    def answer(request):
        three.wait(20)  # breaks if they do not come by threes
        return card(request)

    server = http_server(answer)
    results = {}
    flow = together(map(asks, range(12)), 3, results.__setitem__)
    assert make_client("key", server.url)._follow(flow) == "followed"
    assert results == {number: str(number) for number in range(12)}
    assert server.most == 3
    assert threads() == []


def test_one_at_a_time_is_in_order(make_client, http_server):
    server = http_server(card)
    results = []
    make_client("key", server.url)._follow(together(map(asks, range(5)), 1, lambda *found: results.append(found)))
    assert results == [(number, str(number)) for number in range(5)]
    assert [*map(model_of, server.requests)] == [*"01234"]


def test_flows_are_drawn_as_they_can_be_begun(make_client, http_server):
    answered = []

    def flows():
        for number in range(9):
            assert number - len(answered) <= 2
            yield asks(number)

    server = http_server(card)
    make_client("key", server.url)._follow(together(flows(), 2, lambda place, _: answered.append(place)))
    assert len(answered) == 9


def test_no_flows(make_client):
    flow = together([], 2, pytest.fail)
    assert make_client("key", "http://127.0.0.1:9")._follow(flow) == "followed"


def test_the_first_failure_ends_it_and_is_raised_as_it_is(make_client, http_server, flavour):
    others_came = threading.Semaphore(0)

    def answer(request):
        if model_of(request) != "1":
            others_came.release()
            return card(request)
        assert all(others_came.acquire(timeout=20) for _ in range(2))
        return 404, {"message": "no such model"}

    server = http_server(answer)
    begun, ended, results = [], [], {}

    def flows():
        for number in range(30):
            begun.append(number)
            if number > 2:
                others_came.acquire(timeout=0.2)  # the failure is on its way
            yield asks(number, ended)

    client = make_client("key", server.url)
    with pytest.raises(NotFoundError, match="no such model"):
        client._follow(together(flows(), 3, results.__setitem__))
    assert len(begun) < 30
    assert {0, 1, 2} <= {*ended} <= {*begun}
    assert 1 not in results
    assert threads() == []
    assert client._follow(asks("x")) == "x"


def test_what_succeeds_after_the_failure_is_told_by_the_synchronous_client(http_server):
    failed = threading.Event()

    def answer(request):
        if model_of(request) == "0":
            return 404, {}
        assert failed.wait(20)
        return card(request)

    def flow(results):
        def watched():
            try:
                yield from asks(0)
            finally:
                threading.Timer(0.1, failed.set).start()

        yield Together([watched(), asks(1)], 2, results.__setitem__)

    results = {}
    with MistralClient("key", http_server(answer).url) as client, pytest.raises(NotFoundError):
        client._follow(flow(results))
    assert results == {1: "1"}


@pytest.mark.parametrize("where", ["flows", "done"])
def test_failures_of_the_flow_itself_are_raised_as_they_are(make_client, http_server, where):
    def flows():
        yield asks(0)
        yield asks(1)
        if where == "flows":
            raise LookupError(where)

    def done(place, result):
        if where == "done":
            raise LookupError(where)

    with pytest.raises(LookupError, match=where):
        make_client("key", http_server(card).url)._follow(together(flows(), 2, done))
    assert threads() == []


def test_a_failure_can_be_met_where_it_was_yielded(make_client, http_server):
    def flow():
        try:
            yield from together([asks("bad"), asks("good")], 1, pytest.fail)
        except NotFoundError:
            return (yield from asks("good"))

    def answer(request):
        return (404, {}) if model_of(request) == "bad" else card(request)

    assert make_client("key", http_server(answer).url)._follow(flow()) == "good"


def test_a_failure_ends_the_waits_of_the_others(make_client, http_server):
    waiting = threading.Event()

    def answer(request):
        if model_of(request) == "patient":
            waiting.set()
            return BUSY
        assert waiting.wait(20)
        time.sleep(0.1)  # until the other one waits
        return 401, {"detail": "Unauthorized"}

    server = http_server(answer)
    started = time.monotonic()
    with pytest.raises(AuthenticationError):
        make_client("key", server.url)._follow(together([asks("patient"), asks("hasty")], 2, pytest.fail))
    assert time.monotonic() - started < 20
    assert len(server.requests) == 2
    assert threads() == []


def test_functions_run_and_what_they_raise_is_raised_in_the_flow(make_client):
    def flow():
        three = yield Run(lambda a, b: a + b, {"a": 1, "b": 2})
        try:
            yield Run(json.loads, {"s": "{"})
        except ValueError:
            return three

    assert make_client("key", "http://127.0.0.1:9")._follow(flow()) == 3


def test_asynchronous_functions_are_for_the_asynchronous_client(make_client, flavour):
    async def double(number):
        await anyio.lowlevel.checkpoint()
        return number * 2

    def flow():
        return (yield Run(double, {"number": 2}))

    client = make_client("key", "http://127.0.0.1:9")
    if flavour == "sync":
        with pytest.raises(ArgumentError, match="asynchronous"):
            client._follow(flow())
    else:
        assert client._follow(flow()) == 4


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelled_it_leaves_nothing_running(http_server, backend):
    came, leave = threading.Semaphore(0), threading.Event()

    def answer(request):
        came.release()
        leave.wait(20)
        return card(request)

    server = http_server(answer)
    ended = []

    async def main():
        async with MistralAsyncClient("key", server.url) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client._follow, flow())
            for _ in range(2):
                assert await anyio.to_thread.run_sync(came.acquire)
            tasks.cancel_scope.cancel()
        leave.set()

    def flow():
        try:
            yield Together((asks(number, ended) for number in range(5)), 2, pytest.fail)
        finally:
            ended.append("all")

    anyio.run(main, backend=backend)
    assert sorted(ended[:2]) == [0, 1]
    assert ended[2:] == ["all"]
    assert len(server.requests) == 2


INTERRUPTED = {
    "sync": """
        with MistralClient("key", sys.argv[1]) as client:
            client._follow(flow())
    """,
    "asyncio": """
        async def main():
            async with MistralAsyncClient("key", sys.argv[1]) as client:
                await client._follow(flow())
        anyio.run(main)
    """,
    "trio": """
        async def main():
            async with MistralAsyncClient("key", sys.argv[1]) as client:
                await client._follow(flow())
        anyio.run(main, backend="trio")
    """,
}
PROGRAM = """
import sys, anyio
from mistral_client import MistralAsyncClient, MistralClient
from mistral_client._calls import retrieve_model
from mistral_client._flow import Together

def asks(name):
    return (yield retrieve_model(name, {}))

def flow():
    try:
        yield Together(map(asks, "abcdefgh"), 3, print)
    finally:
        print("closed")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
def test_ctrl_c_ends_it_soon(http_server, flavour):
    came = threading.Semaphore(0)

    def answer(request):
        came.release()
        return BUSY

    server = http_server(answer)
    program = PROGRAM + textwrap.dedent(INTERRUPTED[flavour])
    running = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert all(came.acquire(timeout=30) for _ in range(3))
    time.sleep(0.2)  # until they wait
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert running.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt"), err
    assert "Group" not in err
    assert out == "closed\n"
    assert len(server.requests) == 3
