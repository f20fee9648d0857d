"""Rows of the table that are about time, memory and signals: the server in a process of its own, called from this one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections import Counter

import pytest

from tests.conftest import SOAK
from tests.server.process import HEALTH, Process, Watch, answer, burst, full, request

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="figures of a process are read in /proc")

FOREVER = request("forever and ever", stream=True)


@pytest.fixture
def process():
    with contextlib.ExitStack() as ending:

        def start(*options, **more):
            started = Process(*options, **more)
            ending.callback(started.end)
            return started

        yield start


def body(received: bytes) -> bytes:
    return received.partition(b"\r\n\r\n")[2]


def header(received: bytes, name: bytes) -> bytes:
    lines = received.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return next(line.partition(b": ")[2] for line in lines if line.lower().startswith(name + b":"))


def ended_by_reset(connection) -> bool:
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


def eventually(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at(times, part):
    return sorted(times)[min(int(len(times) * part), len(times) - 1)]


def test_row_13_all_of_many_calls_at_once_are_answered(process):
    """1,000 calls at once, ten times: N run, Q wait, the rest is refused; memory stays, and `/health` answers."""
    calls, rounds = (1000, 10) if SOAK else (200, 3)
    server = process("--slots", 4, "--queue", 64, "--pause", 0.001)
    memory = []
    server.ask(HEALTH)
    with Watch(server.address) as watch:
        for _ in range(rounds):
            statuses = Counter(call.status for call in burst(server.address, request("one two three"), calls))
            assert set(statuses) == {200, 429}
            assert statuses[200] >= 68
            assert statuses.total() == calls
            server.wait_for("vllm:num_requests_running", 0)
            memory.append(server.resident)
    health = watch.times
    assert health
    print(
        f"/health: median {at(health, 0.5) * 1e3:.1f} ms, 99 % {at(health, 0.99) * 1e3:.1f} ms, worst {max(health) * 1e3:.1f} ms;"
        f" memory {[size // 2**20 for size in memory]} MiB; load average {os.getloadavg()[0]:.2f}"
    )
    if SOAK:
        assert memory[-1] - memory[2] < 8 * 2**20, "900 bytes for each of 9,000 calls"
        assert at(health, 0.99) < 0.05
    assert server.end() == 0


def test_row_13_a_crowd_of_an_idle_server_is_not_prepared(process):
    """Places are taken before prompts are made: beside those that are answered nobody's prompt is."""
    server = process("--slots", 2, "--queue", 3, "--pause", 0.05)
    statuses = Counter(call.status for call in burst(server.address, request("one two three four"), 50))
    assert statuses == {200: 5, 429: 45}
    assert server.metric("mistral_client:requests_rejected_total") == 45


def test_row_13_connections_are_bounded(process):
    """Those that nobody uses make room; when all are used the next one is refused, in the API's shape."""
    server = process("--slots", 1, file_limit=128 + 20)
    idle = [server.connect() for _ in range(30)]
    assert server.ask(HEALTH).startswith(b"HTTP/1.1 200 ")
    closed = 0
    for connection in idle:
        connection.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            assert connection.recv(1) == b""
            closed += 1
    assert 10 <= closed <= 12
    busy = [server.connect(FOREVER) for _ in range(20)]
    time.sleep(0.3)
    with server.connect() as one_too_many:
        received = answer(one_too_many)
        assert received.startswith(b"HTTP/1.1 503 ")
        assert json.loads(body(received))["message"] == "There are too many connections."
        assert one_too_many.recv(1) == b""
    for connection in busy:
        connection.close()
    eventually(lambda: server.ask(HEALTH).startswith(b"HTTP/1.1 200 "))
    assert server.end() == 0


def test_row_13_bodies_made_to_hurt_do_not_stop_it(process):
    """8 MiB each: of values, of names, of errors, of text. `/health` waits for none of them for long."""
    server = process("--slots", 1)
    size = 8 * 2**20 - 200
    bodies = [
        b'{"model": "echo", "messages": [], "metadata": {"x": [%s]}}' % (b"[]," * (size // 3) + b"1"),
        b'{"model": "echo", "messages": [], "metadata": {%s}}' % b",".join(b'"%d":1' % n for n in range(size // 11)),
        b'{"model": "echo", "messages": [%s]}' % b",".join([b'{"role":"robot","content":1}'] * (size // 29)),
        b'{"model": "echo", "messages": [{"role": "user", "content": "%s"}]}' % (b'\\",' * (size // 3)),
    ]
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    server.ask(HEALTH)
    with Watch(server.address) as watch:
        for one in bodies * (3 if SOAK else 1):
            received = server.ask(f"{head}Content-Length: {len(one)}\r\n\r\n".encode() + one)
            assert received.startswith(b"HTTP/1.1 400 "), received[:300]
    print(f"/health: median {at(watch.times, 0.5) * 1e3:.1f} ms, worst {max(watch.times) * 1e3:.1f} ms")
    assert max(watch.times) < (0.25 if SOAK else 5)


@pytest.mark.parametrize("kept", [False, True], ids=["own connections", "one connection"])
def test_row_14_a_refusal_is_quick(process, kept):
    server = process("--slots", 2, "--queue", 2)
    refusals_are_quick(server, kept)


@pytest.mark.weights
@pytest.mark.skipif(not SOAK, reason="takes both processors for half a minute")
@pytest.mark.parametrize("kept", [False, True], ids=["own connections", "one connection"])
def test_row_14_a_refusal_is_quick_while_the_model_computes(process, kept):
    server = process("--slots", 2, "--queue", 2, real=True)
    refusals_are_quick(server, kept)


def refusals_are_quick(server, kept):
    times = []
    with full(server, request("forever and ever, tell me of kings and castles", n=8), 4):
        before = server.cpu
        connection = server.connect()
        for _ in range(300 if SOAK else 20):
            begun = time.perf_counter()
            if not kept:
                connection.close()
                connection = server.connect()
            connection.sendall(request("hello"))
            received = answer(connection)
            times.append(time.perf_counter() - begun)
            assert received.startswith(b"HTTP/1.1 429 ")
            assert int(header(received, b"retry-after")) >= 1
            assert json.loads(body(received))["code"] == "3505"
            time.sleep(0.01 if SOAK else 0)
        connection.close()
        used = (server.cpu - before) / len(times)
    shown = f"refused: median {at(times, 0.5) * 1e3:.2f} ms, worst {max(times) * 1e3:.2f} ms"
    print(f"{shown}; computed meanwhile {used * 1e3:.2f} ms each; load average {os.getloadavg()[0]:.2f}")
    assert at(times, 0.99) < (0.02 if SOAK else 2)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_row_9_a_client_that_never_reads_loses_its_connection(process, stream):
    server = process("--pause", 0, "--patience", 0.5, "--slots", 1)
    server.ask(HEALTH)
    time.sleep(0.3)  # until its connection is closed
    before = server.files
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(server.address)
    # 8 MB: more than the systems at both ends hold for it.
    connection.sendall(request(f"forever {'x' * 8000}", stream=stream))
    eventually(lambda: server.files > before)
    eventually(lambda: server.files == before, 20)
    assert server.metric("vllm:num_requests_running") == 0
    assert server.metric("vllm:request_success_total") == (0 if stream else 1)
    assert ended_by_reset(connection)
    connection.close()


def test_row_22_a_failure_in_mid_stream_closes_the_connection(process):
    server = process()
    with server.connect(request("one two crash", stream=True)) as connection:
        received = b""
        while more := connection.recv(65536):  # until it is closed
            received += more
    assert received.startswith(b"HTTP/1.1 200 ")
    event = received.rpartition(b"event: error\ndata: ")[2]
    assert json.loads(event[: event.index(b"\n")])["message"] == "The model failed: out of cheese"
    assert b"[DONE]" not in received
    assert server.ask(request("fine")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_row_46_an_end_in_order(process, number):
    """Those that wait get 503 at once; those that run get the grace, then an error event; the exit code is 0."""
    server = process("--slots", 2, "--queue", 4, "--grace", 1.5)
    running = [server.connect(request("one " * 40, stream=True)), server.connect(FOREVER)]
    server.wait_for("vllm:num_requests_running", 2)
    waiting = [server.connect(request("x", stream=stream)) for stream in (False, True)]
    server.wait_for("vllm:num_requests_waiting", 2)
    begun = time.monotonic()
    server.popen.send_signal(number)
    for connection in waiting:
        received = answer(connection)
        assert received.startswith(b"HTTP/1.1 503 ")
        assert json.loads(body(received))["code"] == "1100"
    refused_after = time.monotonic() - begun
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    assert answer(running[0]).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), "it was done within the grace"
    rest = answer(running[1])
    assert b"event: error\n" in rest
    assert b"the engine is closed" in rest
    assert b"[DONE]" not in rest
    assert server.popen.wait(20) == 0
    took = time.monotonic() - begun
    assert took > 1.5
    assert refused_after < (0.5 if SOAK else 1.4)
    assert took < (2.5 if SOAK else 10)
    assert server.popen.stderr.read() == ""


def test_row_46_the_second_signal_ends_at_once(process):
    server = process("--slots", 1, "--grace", 60)
    with server.connect(FOREVER) as running:
        server.wait_for("vllm:num_requests_running", 1)
        begun = time.monotonic()
        server.popen.terminate()
        time.sleep(0.3)  # a signal that waits for the process already would count once
        server.popen.terminate()
        assert b"event: error\n" in answer(running)
        assert server.popen.wait(20) == 0
    assert time.monotonic() - begun < (1.3 if SOAK else 10)


def test_row_46_not_even_native_code_delays_the_end(process):
    """An engine that cannot be stopped, as in a long batch of a large model, goes down with the process."""
    server = process("--slots", 1, "--grace", 0.2, "--reading", 60)
    with server.connect(request("x")):
        server.wait_for("vllm:num_requests_running", 1)
        begun = time.monotonic()
        server.popen.terminate()
        assert server.popen.wait(20) == 0
    assert time.monotonic() - begun < (1.2 if SOAK else 10)


def test_row_46_slow_requests_do_not_delay_it(process):
    server = process("--grace", 0.2)
    with server.connect(b"GET /hea"), server.connect(request("x")[:-5]), server.connect():
        server.ask(HEALTH)
        begun = time.monotonic()
        server.popen.terminate()
        assert server.popen.wait(20) == 0
    assert time.monotonic() - begun < (1.2 if SOAK else 10)


@pytest.mark.weights
@pytest.mark.skipif(not SOAK, reason="takes both processors for a minute")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_row_10_who_leaves_the_real_model_is_not_computed_for(process, stream):
    """In mid-generation, in the prompt and in the queue: the slot is free at once, and the processors within a token, or
    within two batches of the prompt: the next one may have been begun.
    """
    server = process("--slots", 1, "--queue", 1, real=True)
    long = request("kings and castles " * 1500, stream=stream)
    freed, idle = [], {"generation": [], "prompt": [], "queue": []}
    for number in range(30):
        kind = ("generation", "prompt", "queue")[number % 3]
        first = server.connect(long if kind == "prompt" else request("Tell me of kings.", stream=stream, n=8))
        server.wait_for("vllm:num_requests_running", 1)
        if kind == "queue":
            server.connect(request("x", stream=stream)).close()
            server.wait_for("vllm:num_requests_waiting", 0)
        else:
            time.sleep(0.5)
        first.close()
        begun = time.monotonic()
        server.wait_for("vllm:num_requests_running", 0)
        freed.append(time.monotonic() - begun)
        used = server.cpu - 1
        while server.cpu - used > 0.1:
            used = server.cpu
            time.sleep(0.3)
        idle[kind].append(time.monotonic() - begun - 0.3)
    print(f"the slot is free after {max(freed):.3f} s at worst, the processors after:")
    print({kind: f"{at(times, 0.5):.2f} s, at worst {max(times):.2f} s" for kind, times in idle.items()})
    assert max(freed) < 1
    assert max(idle["generation"]) < 1
    assert max(idle["prompt"]) < 12
    assert server.end() == 0
