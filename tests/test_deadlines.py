"""A call is over in time, whatever the server does.

How soon after its time a busy machine notices is not asked here; `make soak` asks for 50 ms.
"""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from mistral_client import (
    MistralClient,
    MistralException,
    RateLimitError,
    RequestTimeout,
    StreamInterrupted,
    StreamTimeout,
)

from .conftest import HELLO, SOAK, chunk, chunked_head, http
from .test_chunks import EVENTS
from .test_clients import KEY

SLACK = 0.05 if SOAK else 2.0
TIMES = [0.2, 1.0, 5.0] if SOAK else [0.2]


def drip(data, pause=0.01):
    """Send byte by byte, for ever."""

    def step(connection):
        while True:
            for i in range(len(data)):
                connection.sendall(data[i : i + 1])
                time.sleep(pause)

    return step


def flood(connection):
    while True:
        connection.sendall(chunk(b": are you still there?\n\n") * 20)
        time.sleep(0.001)


def slow_handshake(connection):
    """Answer a TLS handshake with a record that never ends."""
    connection.sendall(b"\x16\x03\x03\x3f\xff")
    drip(b"\x02")(connection)


LONG = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n"
FAULTS = {
    "stall": [60.0],
    "drip of a status line": [drip(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 90_000)],
    "drip of a body": [LONG, drip(b" ")],
    "drip of a chunk's length": [chunked_head("application/json"), drip(b"0" * 19 + b"1;a=b")],
    "one answer, then another in vain": [http(b"", "503 Service Unavailable"), 60.0],
    "busy for ever": [http(b"{}", "429 Too Many Requests", "application/json", "retry-after-ms: 90")],
}
STREAMS = {
    "stall": [chunked_head(), 60.0],
    "flood of comments": [chunked_head(), flood],
    "drip of an event": [chunked_head(), b"ffff\r\n", drip(b"data: x")],
    "chunks for ever": [chunked_head(), *([chunk(EVENTS[1]), 0.02] * 400)],
}


def took(call):
    """Seconds of the call, and what it raised."""
    started = time.monotonic()
    with pytest.raises(MistralException) as raised:
        call()
    return time.monotonic() - started, raised.value


@pytest.mark.parametrize("seconds", TIMES)
@pytest.mark.parametrize("script", FAULTS.values(), ids=FAULTS)
def test_an_answer_has_a_deadline(make_client, raw_server, script, seconds):
    client = make_client(KEY, raw_server(script).url, 9)
    elapsed, error = took(lambda: client.chat(HELLO, "m", deadline=seconds))
    assert elapsed < seconds + SLACK
    if script != FAULTS["busy for ever"]:
        assert isinstance(error, RequestTimeout) or elapsed < seconds, "else it fails before, for want of time to wait"


@pytest.mark.parametrize("seconds", TIMES)
@pytest.mark.parametrize("script", STREAMS.values(), ids=STREAMS)
def test_a_stream_has_a_deadline(make_client, raw_server, script, seconds):
    client = make_client(KEY, raw_server(script).url, 9, deadline=seconds)
    elapsed, error = took(lambda: list(client.chat_stream(HELLO, "m")))
    assert seconds - 0.01 < elapsed < seconds + SLACK
    assert type(error) is StreamTimeout
    assert error.retryable == (script != STREAMS["chunks for ever"])


@pytest.mark.parametrize("seconds", TIMES)
def test_a_handshake_has_a_deadline(make_client, raw_server, seconds):
    server = raw_server([slow_handshake])
    client = make_client(KEY, server.url.replace("http:", "https:"), 9)
    elapsed, error = took(lambda: client.chat(HELLO, "m", deadline=seconds))
    assert seconds - 0.01 < elapsed < seconds + SLACK
    assert isinstance(error, RequestTimeout)
    assert error.attempts == 1


def test_who_asks_for_more_time_than_there_is_is_not_waited_for(make_client, raw_server):
    server = raw_server([http(b"{}", "429 Too Many Requests", "application/json", "retry-after: 5")])
    elapsed, error = took(lambda: make_client(KEY, server.url).chat(HELLO, "m", deadline=3))
    assert (type(error), error.retry_after, error.attempts) == (RateLimitError, 5, 1)
    assert elapsed < 3


def test_bytes_that_drip_are_no_sign_of_life(make_client, raw_server):
    server = raw_server([LONG, drip(b" ")])
    elapsed, error = took(lambda: make_client(KEY, server.url, 0).chat(HELLO, "m", timeout=0.3))
    assert 0.29 < elapsed < 0.3 + SLACK
    assert isinstance(error, RequestTimeout)


def test_comments_are_no_sign_of_life_and_chunks_are(make_client, raw_server):
    chunks = [step for _ in range(8) for step in (chunk(EVENTS[1]), 0.1)]
    server = raw_server([chunked_head(), *chunks, flood])
    texts = []
    stream = make_client(KEY, server.url).chat_stream(HELLO, "m", timeout=0.4)
    elapsed, error = took(lambda: [texts.append(chunk.choices[0].delta.content) for chunk in stream])
    assert texts == ["Camem"] * 8
    assert type(error) is StreamTimeout
    assert isinstance(error, StreamInterrupted)
    assert (error.text, error.attempts, error.host) == ("Camem" * 8, 1, server.url.removeprefix("http://"))
    assert 1.1 < elapsed < 1.2 + SLACK


def test_a_reader_who_takes_his_time_is_not_the_servers_silence(make_client, raw_server):
    server = raw_server([chunked_head(), chunk(EVENTS[1]), 0.2, *map(chunk, EVENTS[1:]), b"0\r\n\r\n"])
    stream = make_client(KEY, server.url).chat_stream(HELLO, "m", timeout=0.3)
    for _ in stream:
        time.sleep(0.25)


def test_a_server_that_does_not_read_has_a_deadline_too(make_client):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = make_client(KEY, f"http://127.0.0.1:{listener.getsockname()[1]}", 0)
        long = [{"role": "user", "content": "x" * 8_000_000}]
        elapsed, error = took(lambda: client.chat(long, "m", deadline=0.5))
    assert isinstance(error, RequestTimeout)
    assert elapsed < 0.5 + SLACK


def test_an_httpx_client_of_your_own_takes_the_time_for_each_read(raw_server):
    server = raw_server([60.0])
    with httpx.Client() as own:
        client = MistralClient(KEY, server.url, 0, http_client=own)
        elapsed, error = took(lambda: client.chat(HELLO, "m", deadline=0.2))
    assert isinstance(error, RequestTimeout)
    assert elapsed < 0.2 + SLACK
