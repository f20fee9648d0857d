"""The rows that take more than one line of the table: what is recovered from, counted, timed, or never sent."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import logging
import os
import pickle
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest

from mistral_client import (
    ConfigurationError,
    InvalidRequestError,
    Limits,
    MistralAPIStatusException,
    MistralAsyncClient,
    MistralClient,
    MistralConnectionException,
    MistralException,
    ProtocolError,
    RateLimitError,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
)

from ..conftest import HELLO, chunk, chunked_head, http
from . import server as s
from .test_table import KEY, ask, chain, idempotency_key

MIB = 2**20
HERE = Path(__file__).parent
SLACK = 2.0
"""Seconds that a busy machine may take for what takes none."""

LONGEST_FIRST_WAIT = 0.5
DOWN = http(b'{"message":"down"}', "503 Service Unavailable")
BOTH = pytest.mark.parametrize("call", ["chat", "chat_stream"])
EACH = pytest.mark.parametrize("call", s.CALLS)
CLIENTS = pytest.mark.parametrize("kind", [MistralClient, MistralAsyncClient])
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def ok(call="chat"):
    return partial(s.right, call=call)


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def noting(times):
    """A step of a script that notes when the request came."""
    return lambda _: times.append(time.monotonic())


class Held:
    """A server's step: a stream that has begun and does not go on. `left` is set when the client has hung up."""

    def __init__(self, *events):
        self.events = events or s.EVENTS[:2]
        self.begun = threading.Event()
        self.left = threading.Event()

    def __call__(self, connection):
        connection.sendall(chunked_head() + b"".join(map(chunk, self.events)))
        self.begun.set()
        s.stall(connection)
        self.left.set()


@pytest.fixture
def secure_server():
    servers = []

    def make(certificate, *scripts):
        servers.append(s.SecureServer(certificate, *scripts))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def not_loopback(server):
    """The address of a server by a name that is not known to mean this machine, so that the environment counts."""
    return server.url.replace("127.0.0.1", "0.0.0.0")


# --- A. connecting ---


@BOTH
def test_row_1_a_port_that_nobody_listens_on(make_client, call):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(MistralConnectionException, match=f"no connection to {address}") as raised:
        ask(make_client(KEY, f"http://{address}", 1), call)
    error = raised.value
    assert type(error) is MistralConnectionException
    assert (error.attempts, error.host, error.retryable) == (2, address, True)


@BOTH
def test_row_2_a_name_that_nobody_has(make_client, call):
    with pytest.raises(MistralConnectionException, match=r"nobody.invalid:8000 was not found") as raised:
        ask(make_client(KEY, "http://nobody.invalid:8000", 1), call)
    error = raised.value
    assert type(error) is MistralConnectionException
    assert (error.attempts, error.host, error.retryable) == (2, "nobody.invalid:8000", True)


def refused_as_insecure(client, call, says):
    with pytest.raises(MistralConnectionException, match=f"no secure connection.*{says}") as raised:
        ask(client, call)
    assert type(raised.value) is MistralConnectionException
    assert (raised.value.attempts, raised.value.retryable) == (1, False)


@BOTH
def test_row_3_a_certificate_that_nobody_vouches_for(make_client, secure_server, call):
    server = secure_server("here.pem", [ok(call)])
    refused_as_insecure(make_client(KEY, server.url), call, "self-signed")
    assert (server.connections, server.requests) == (1, [])


@BOTH
def test_row_3_a_certificate_of_another_host(make_client, secure_server, monkeypatch, call):
    monkeypatch.setenv("SSL_CERT_FILE", str(HERE / "elsewhere.pem"))
    server = secure_server("elsewhere.pem", [ok(call)])
    refused_as_insecure(make_client(KEY, not_loopback(server)), call, "mismatch")
    assert (server.connections, server.requests) == (1, [])


@BOTH
def test_row_3_a_port_without_tls(make_client, raw_server, call):
    server = raw_server([ok(call)])
    refused_as_insecure(make_client(KEY, server.url.replace("http:", "https:")), call, "")
    assert server.connections == 1


@BOTH
def test_row_4_no_connection_in_time(make_client, call):
    with s.full_queue() as address:
        started = time.monotonic()
        with pytest.raises(RequestTimeout, match=f"no connection to {address} in time") as raised:
            ask(make_client(KEY, f"http://{address}", 1, 0.2), call)
        took = time.monotonic() - started
    assert type(raised.value) is RequestTimeout
    assert (raised.value.attempts, raised.value.host) == (2, address)
    assert 0.4 <= took < 0.4 + LONGEST_FIRST_WAIT + SLACK


def test_row_4_no_tls_in_time(make_client, raw_server):
    server = raw_server([s.stall])
    with pytest.raises(RequestTimeout, match="no connection") as raised:
        make_client(KEY, server.url.replace("http:", "https:"), 0, 0.2).chat(HELLO, "m")
    assert 0.2 <= raised.value.elapsed < 0.2 + SLACK


def test_row_5_a_full_pool(make_client, raw_server, flavour):
    size, options = (100, {}) if flavour == "sync" else (2, {"max_concurrent_requests": 2})
    server = raw_server(*[[Held()]] * size, [ok()])
    client = make_client(KEY, server.url, 0, **options)
    streams = [client.chat_stream(HELLO, "m") for _ in range(size)]
    for stream in streams:
        next(stream)
    with pytest.raises(RequestTimeout, match="pool") as raised:
        client.chat(HELLO, "m", timeout=0.2)
    assert type(raised.value) is RequestTimeout
    assert "timed out" not in str(raised.value)
    assert 0.2 <= raised.value.elapsed < 0.2 + SLACK
    assert len(server.requests) == size
    for stream in streams:
        stream.close()
    assert client.chat(HELLO, "m").choices[0].message.content == "hi"


# --- a kept connection that the server gives up ---


@EACH
@pytest.mark.parametrize("last", [s.close, s.reset])
def test_row_8_a_stale_connection_is_not_noticed(make_client, raw_server, call, last):
    server = raw_server([partial(s.Stale(last), call=call), None])
    client = make_client(KEY, server.url, 0)
    for _ in range(3):
        ask(client, call)
    assert (len(server.requests), server.connections) == (5, 3)
    first, given_up, again, *_ = server.requests
    assert given_up == again
    assert call == "list_models" or idempotency_key(again)[1] != idempotency_key(first)[1]


@BOTH
def test_row_8_all_kept_connections_are_stale(make_client, raw_server, call):
    server = raw_server([partial(s.Stale(), call="chat_stream"), None])
    client = make_client(KEY, server.url, 0)
    streams = [client.chat_stream(HELLO, "m") for _ in range(3)]
    for stream in streams:
        next(stream)
    for stream in streams:
        list(stream)
    assert server.connections == 3
    assert text_of(client.chat_stream(HELLO, "m")) == s.TEXT
    assert server.connections == 4


@pytest.mark.parametrize(
    "start", [b"H", b"HTTP/1.1 200 OK\r\n", s.whole("chat")[:-1]], ids=["a byte", "half a head", "half a body"]
)
@pytest.mark.parametrize("last", [s.close, s.reset])
def test_row_8_what_was_answered_is_not_asked_again(make_client, raw_server, start, last):
    server = raw_server([ok(), None], [start, last], [ok()])
    client = make_client(KEY, server.url, 0)
    client.chat(HELLO, "m")
    with pytest.raises(MistralConnectionException, match="broke") as raised:
        client.chat(HELLO, "m")
    assert (raised.value.attempts, len(server.requests)) == (1, 2)


def test_row_8_a_silent_connection_is_not_a_stale_one(make_client, raw_server):
    server = raw_server([ok(), None], [s.stall], [ok()])
    client = make_client(KEY, server.url, 0, 0.2)
    client.chat(HELLO, "m")
    with pytest.raises(RequestTimeout):
        client.chat(HELLO, "m")
    assert len(server.requests) == 2


def test_row_8_a_fresh_connection_that_breaks_is_an_attempt(make_client, raw_server):
    server = raw_server([ok(), None], [])
    client = make_client(KEY, server.url, 0)
    client.chat(HELLO, "m")
    with pytest.raises(MistralConnectionException) as raised:
        client.chat(HELLO, "m")
    assert (raised.value.attempts, len(server.requests)) == (1, 3)


# --- B. bodies ---

USAGE = {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1, "novel_tokens": 3}
NOVEL = {
    "chat": {
        "id": "1",
        "object": "novel.completion",
        "created": 1,
        "model": "m",
        "novel": {"deep": [1, None, "x"]},
        "choices": [
            {
                "index": 0,
                "finish_reason": "novel",
                "message": {
                    "role": "novel",
                    "content": [{"type": "novel", "x": 1}, {"type": "text", "text": "t", "novel": 1}],
                    "novel": 1,
                },
                "novel": [],
            }
        ],
        "usage": USAGE,
    },
    "chat_stream": {
        "id": "1",
        "model": "m",
        "novel": 1,
        "choices": [
            {"index": 0, "delta": {"role": "novel", "content": "x", "novel": {}}, "finish_reason": "novel", "novel": 1}
        ],
        "usage": USAGE,
    },
    "embeddings": {
        "id": "1",
        "object": "novel",
        "model": "m",
        "data": [{"object": "novel", "embedding": [0.5], "index": 0, "novel": 1}],
        "usage": USAGE,
        "novel": 1,
    },
    "list_models": {"object": "novel", "data": [{"id": "m", "object": "novel", "novel": {"x": [1]}}], "novel": 1},
}


@EACH
def test_row_30_what_is_new_is_kept(make_client, raw_server, call):
    novel = NOVEL[call]
    if call == "chat_stream":
        server = raw_server([partial(s.stream_of, call=call), None])
        pieces = [f"data: {json.dumps(novel)}\n\n".encode(), s.EVENTS[-1]]
        server.scripts = [[lambda connection: s.stream_of(connection, call, *pieces)]]
        (answer,) = ask(make_client(KEY, server.url, 0), call)
    else:
        server = raw_server([http(json.dumps(novel).encode())])
        answer = ask(make_client(KEY, server.url, 0), call)
    assert answer.model_dump(mode="json", by_alias=True, exclude_unset=True) == novel
    if call.startswith("chat"):
        assert answer.choices[0].finish_reason == "novel"


def extra_memory(client, call, kind):
    """The most bytes that were held at a time while the call came to its error."""
    tracemalloc.start()
    try:
        with pytest.raises(kind) as raised:
            ask(client, call)
        return raised.value, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused_as_too_large(make_client, server, call):
    limit = 8 * MIB
    client = make_client(KEY, server.url, limits=Limits(response=limit, event=limit))
    error, most = extra_memory(client, call, ProtocolError)
    assert type(error) is ProtocolError
    assert len(server.requests) == 1
    assert most <= 2 * limit


@BOTH
def test_row_31_a_bomb(make_client, raw_server, call):
    s.bomb()  # made before the memory is measured
    refused_as_too_large(make_client, raw_server([partial(s.gzip_bomb, call=call)]), call)


@BOTH
def test_row_32_a_bomb_in_a_bomb(make_client, raw_server, call):
    s.bomb()
    refused_as_too_large(make_client, raw_server([partial(s.gzip_bomb_in_gzip, call=call)]), call)


@EACH
@pytest.mark.parametrize(("status", "kind"), [("400 Bad", InvalidRequestError), ("503 Down", ServerError)])
def test_row_33_an_endless_error(make_client, raw_server, call, status, kind):
    sent = []
    server = raw_server([lambda connection: sent.append(s.error_of_100_mib(connection, call, status))])
    error, most = extra_memory(make_client(KEY, server.url, 0), call, kind)
    assert type(error) is kind
    assert error.message.startswith("no capacity x")
    assert len(error.body) == 10_000
    assert most < 4 * MIB
    server.close()
    assert sent[0] < 16 * MIB, "what was sent and not read fits the buffers of two sockets"


# --- C. statuses ---


def test_row_34_a_wish_is_granted(make_client, raw_server):
    times = []
    server = raw_server([noting(times), partial(s.too_many, call="chat", after="1")], [noting(times), ok("chat")])
    make_client(KEY, server.url, 1).chat(HELLO, "m")
    assert 1 <= times[1] - times[0] < 1 + LONGEST_FIRST_WAIT + SLACK


@pytest.mark.parametrize("after", ["0", "-1", "soon", "Mon, 01 Jan 2001 00:00:00 GMT"])
def test_row_35_a_wish_that_is_none(make_client, raw_server, after):
    times = []
    server = raw_server([noting(times), partial(s.too_many, call="chat", after=after)], [noting(times), ok()])
    assert make_client(KEY, server.url, 1).chat(HELLO, "m").choices[0].message.content == "hi"
    assert times[1] - times[0] < LONGEST_FIRST_WAIT + SLACK


@pytest.mark.parametrize("after", ["1e999", "9" * 400, "inf", "nan"], ids=["1e999", "400 digits", "inf", "nan"])
def test_row_38_a_wish_beyond_all_numbers(make_client, raw_server, after):
    server = raw_server([partial(s.too_many, call="chat", after=after)])
    with pytest.raises(RateLimitError, match="no capacity") as raised:
        make_client(KEY, server.url, 1).chat(HELLO, "m")
    assert len(server.requests) == raised.value.attempts <= 2
    assert raised.value.elapsed < LONGEST_FIRST_WAIT + SLACK


@pytest.mark.parametrize("year", [2001, 2101], ids=["its clock is slow", "its clock is fast"])
def test_row_40_a_date_counts_from_the_servers_own(make_client, raw_server, year):
    times = []
    weekday = "Mon" if year == 2001 else "Sat"
    now, then = (f"{weekday}, 01 Jan {year} 00:00:0{second} GMT" for second in (0, 1))
    busy = partial(s.too_many, call="chat", after=then, date=now)
    server = raw_server([noting(times), busy], [noting(times), ok()])
    make_client(KEY, server.url, 1).chat(HELLO, "m")
    assert 1 <= times[1] - times[0] < 1 + LONGEST_FIRST_WAIT + SLACK


def test_row_42_too_early_is_asked_again_once(make_client, raw_server):
    server = raw_server([partial(s.says, call="chat", status="425 Too Early")])
    with pytest.raises(MistralAPIStatusException) as raised:
        make_client(KEY, server.url, 3).chat(HELLO, "m")
    assert len(server.requests) == raised.value.attempts == 2


def test_row_42_too_early_passes(make_client, raw_server):
    server = raw_server([partial(s.says, call="chat", status="425 Too Early")], [ok()])
    make_client(KEY, server.url, 3).chat(HELLO, "m")
    assert len(server.requests) == 2


def test_row_46_a_server_that_is_down_is_left_alone(make_client, raw_server):
    server = raw_server([DOWN], [], [DOWN])
    client = make_client(KEY, server.url)
    attempts = 0
    for _ in range(40):
        with pytest.raises((ServerError, MistralConnectionException)) as raised:
            client.chat(HELLO, "m")
        attempts += raised.value.attempts
    assert 40 < attempts == len(server.requests) <= 44


def test_row_47_the_longest_wait_is_still_jittered(make_client, raw_server, monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    server = raw_server(*[[ok(), None]] * 20, [DOWN, None])
    client = make_client(KEY, server.url)
    for _ in range(20):  # so that it may retry so often
        client.chat(HELLO, "m")
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(anyio, "sleep", sleep)
    with pytest.raises(ServerError):
        client.chat(HELLO, "m", max_retries=12)
    longest = waits[4:]
    assert len(waits) == 12
    assert max(longest) <= 8
    assert len(set(longest)) == len(longest)


@pytest.mark.parametrize("step", [86400.0, -86400.0], ids=["forwards", "backwards"])
def test_row_48_the_wall_clock_steps(make_client, raw_server, monkeypatch, step):
    wall, times = time.time, []

    def set_clock(_):
        monkeypatch.setattr(time, "time", lambda: wall() + step)

    busy = http(b"{}", "503 Down", "application/json", "retry-after-ms: 200")
    server = raw_server([noting(times), set_clock, busy], [noting(times), busy])
    with pytest.raises(ServerError) as raised:
        make_client(KEY, server.url, 1, deadline=60).chat(HELLO, "m")
    assert 0.2 <= times[1] - times[0] < 0.2 + LONGEST_FIRST_WAIT + SLACK
    assert 0.2 <= raised.value.elapsed < 0.2 + LONGEST_FIRST_WAIT + SLACK


@pytest.mark.parametrize("call", ["chat", "chat_stream", "embeddings"])
def test_row_49_an_iterator_is_sent_whole_each_time(make_client, raw_server, call):
    server = raw_server([DOWN], [ok(call)])
    client = make_client(KEY, server.url, 1)
    if call == "embeddings":
        client.embeddings("m", iter(["x", "y"]))
    else:
        answer = getattr(client, call)(iter(HELLO), "m")
        assert call == "chat" or text_of(answer) == s.TEXT
    first, second = (json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.requests)
    assert first == second
    assert first.get("messages", HELLO) == HELLO
    assert first.get("input", ["x", "y"]) == ["x", "y"]


# --- D. redirects, proxies, environment ---


def not_followed(client, call, server, elsewhere, target, **options):
    with pytest.raises(ProtocolError) as raised:
        ask(client, call, **options)
    assert type(raised.value) is ProtocolError
    assert target in raised.value.message
    assert len(server.requests) == 1
    assert elsewhere is None or elsewhere.connections == 0


@BOTH
@pytest.mark.parametrize("status", [307, 308])
def test_row_50_a_redirect_to_another_host(make_client, raw_server, call, status):
    elsewhere = raw_server([ok(call)])
    target = elsewhere.url.replace("127.0.0.1", "localhost")
    server = raw_server([partial(s.redirect, call=call, status=status, location=f"{target}/v1/chat")])
    not_followed(make_client(KEY, server.url), call, server, elsewhere, target)


@BOTH
@pytest.mark.parametrize("status", [301, 302, 303])
def test_row_51_a_redirect_that_turns_a_post_into_a_get(make_client, raw_server, call, status):
    elsewhere = raw_server([ok(call)])
    server = raw_server([partial(s.redirect, call=call, status=status, location=f"{elsewhere.url}/login")])
    not_followed(make_client(KEY, server.url), call, server, elsewhere, elsewhere.url)


@EACH
def test_row_52_headers_of_your_own_go_nowhere_else(make_client, raw_server, call):
    elsewhere = raw_server([ok(call)])
    server = raw_server([partial(s.redirect, call=call, status=307, location=elsewhere.url)])
    client = make_client(KEY, server.url)
    not_followed(client, call, server, elsewhere, elsewhere.url, extra_headers={"X-Api-Key": "another secret"})
    assert b"another secret" in server.requests[0]


def test_row_52_not_even_with_a_client_that_follows(raw_server):
    elsewhere = raw_server([ok()])
    server = raw_server([partial(s.redirect, call="chat", status=307, location=elsewhere.url)])
    with httpx.Client(follow_redirects=True) as own, MistralClient(KEY, server.url, http_client=own) as client:
        not_followed(client, "chat", server, elsewhere, elsewhere.url)


@BOTH
def test_row_53_from_https_to_http(make_client, secure_server, monkeypatch, call):
    monkeypatch.setenv("SSL_CERT_FILE", str(HERE / "here.pem"))
    server = secure_server("here.pem", [])
    url = not_loopback(server)
    target = url.replace("https:", "http:")
    server.scripts = [[partial(s.redirect, call=call, status=307, location=f"{target}/v1")]]
    not_followed(make_client(KEY, url), call, server, None, target)
    assert server.connections == 1


@EACH
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_row_54_a_proxy_is_not_asked_about_this_machine(make_client, raw_server, monkeypatch, call, name, host):
    proxy, server = raw_server([ok(call)]), raw_server([ok(call)])
    monkeypatch.setenv(name, proxy.url)
    ask(make_client(KEY, server.url.replace("127.0.0.1", host), 0), call)
    assert (proxy.connections, len(server.requests)) == (0, 1)


@pytest.mark.parametrize(
    ("key", "address"), [(KEY, "127.0.0.1"), (None, "127.0.0.1"), (KEY, "api.example")], ids=["key", "no key", "proxy"]
)
def test_row_55_a_netrc_is_not_looked_at(make_client, raw_server, monkeypatch, tmp_path, key, address):
    for name in (".netrc", "_netrc"):
        file = tmp_path / name
        file.write_text(f"machine {address} login me password hunter2\ndefault login me password hunter2\n")
        file.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    server = raw_server([ok()])
    url = server.url
    if address == "api.example":
        monkeypatch.setenv("HTTP_PROXY", server.url)
        url = "http://api.example"
    make_client(key, url, 0).chat(HELLO, "m")
    head = server.requests[0].partition(b"\r\n\r\n")[0].lower()
    assert b"basic" not in head
    assert head.count(b"authorization: ") == (0 if key is None else 1)


def test_row_56_certificates_of_the_environment_count(make_client, secure_server, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(HERE / "here.pem"))
    server = secure_server("here.pem", [ok()])
    assert make_client(KEY, not_loopback(server), 0).chat(HELLO, "m").choices[0].message.content == "hi"


def test_row_56_they_do_not_count_without_trust(make_client, secure_server, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(HERE / "here.pem"))
    server = secure_server("here.pem", [ok()])
    refused_as_insecure(make_client(KEY, not_loopback(server), trust_env=False), "chat", "self-signed")


def test_row_56_certificates_that_are_not_there(make_client, monkeypatch, raw_server):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    url = not_loopback(raw_server([ok()])).replace("http:", "https:")
    with pytest.raises(ConfigurationError, match="certificates"):
        make_client(KEY, url, 0).chat(HELLO, "m")
    refused_as_insecure(make_client(KEY, url, trust_env=False), "chat", "")


@pytest.mark.parametrize("place", ["keys", "nowhere/keys"], ids=["a file", "no file"])
def test_row_56_tls_keys_are_not_logged_without_trust(secure_server, monkeypatch, tmp_path, place):
    """In a process of its own: a client that was there before may have read the environment before."""
    log = tmp_path / place
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[1]))
    server = secure_server("here.pem", [ok()])
    program = """
import sys
from mistral_client import MistralClient, MistralException
try:
    MistralClient("key", sys.argv[1], 0, 10.0, trust_env=False).list_models()
except MistralException as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", program, not_loopback(server)], stdout=subprocess.PIPE, text=True)
    assert "no secure connection" in said.stdout
    lines = log.read_text().splitlines() if log.exists() else []
    assert not [line for line in lines if not line.startswith("#")]


def test_row_56_no_proxy_without_trust(make_client, raw_server, monkeypatch):
    proxy, server = raw_server([ok()]), raw_server([ok()])
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    make_client(KEY, not_loopback(server), 0, trust_env=False).chat(HELLO, "m")
    assert (proxy.connections, len(server.requests)) == (0, 1)


@CLIENTS
@pytest.mark.parametrize("given", ["argument", "environment"])
@pytest.mark.parametrize(
    "endpoint",
    [
        "https://me:hunter2@api.example/v1",
        "https://hunter2@api.example",
        "http://me:hunter2@127.0.0.1:8000",
        "http://me:hunter2@[::1",
        "http://me:hunter2@api.example:port",
        "ftp://me:hunter2@api.example",
        "https:me:hunter2@api.example",
        "me:hunter2@api.example",
        "//me:hunter2@api.example",
    ],
)
def test_row_57_an_endpoint_with_a_password(kind, monkeypatch, endpoint, given):
    monkeypatch.setenv("MISTRAL_ENDPOINT", endpoint)
    with pytest.raises(ConfigurationError) as raised:
        kind(KEY, endpoint if given == "argument" else None)
    for error in chain(raised.value):
        assert "hunter2" not in f"{error} {error!r} {vars(error)} {error.args}"


# --- E. streams ---


def test_row_63_a_reset_before_the_first_event_is_not_noticed(make_client, raw_server):
    reset = [partial(s.stream_reset_before_its_first_event, call="chat_stream")]
    server = raw_server(reset, reset, [ok("chat_stream")])
    chunks = ask(make_client(KEY, server.url, 2), "chat_stream")
    assert text_of(chunks) == s.TEXT
    assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1
    assert len(server.requests) == 3
    assert len({idempotency_key(request)[1] for request in server.requests}) == 1


def streamed(make_client, raw_server, *pieces):
    """The text of a stream of these bytes, which goes through at the first attempt."""
    server = raw_server([lambda connection: s.stream_of(connection, "chat_stream", *pieces)])
    text = text_of(ask(make_client(KEY, server.url, 0), "chat_stream"))
    assert len(server.requests) == 1
    return text


IGNORED = {
    "row_71_data_after_done": [*s.EVENTS, s.EVENTS[1], b"data: {nonsense\n\n", b"\xff\xfe"],
    "row_71_done_twice": [*s.EVENTS, s.EVENTS[-1]],
    "row_74_an_id_and_a_comment": [b"id: 7\n\n", b"id: 7\n: ping\n\n", *s.EVENTS[:2], b"id: 8\n", b": ping\n\n",
                                   *s.EVENTS[2:]],
    "row_75_events_without_data": [b"event: ping\n\n", b"retry: 1000\n\n", *s.EVENTS[:2], b"event: ping\n\n",
                                   b"retry: nonsense\n\n", *s.EVENTS[2:]],
    "row_77_a_byte_order_mark": [b"\xef\xbb\xbf" + s.EVENTS[0], *s.EVENTS[1:]],
    "row_77_a_byte_order_mark_in_pieces": [b"\xef", b"\xbb", b"\xbf", *s.EVENTS],
    "row_81_ids_that_count": [f"id: {n}\n".encode() + event for n, event in enumerate(s.EVENTS)],
    "row_81_ids_that_are_all_the_same": [b"id: 1\n" + event for event in s.EVENTS],
}  # fmt: skip


@pytest.mark.parametrize("pieces", IGNORED.values(), ids=IGNORED)
def test_what_does_no_harm_to_a_stream(make_client, raw_server, pieces):
    assert streamed(make_client, raw_server, *pieces) == s.TEXT


def test_row_58_a_finished_answer_without_done_is_whole_where_http_tells_its_end(make_client, raw_server):
    """`transformers serve` sends no `[DONE]`."""
    finished = s.EVENTS[:-1]
    server = raw_server(
        [chunked_head(), *map(chunk, finished), b"0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n", *finished],
    )
    client = make_client(KEY, server.url, 0)
    assert text_of(client.chat_stream(HELLO, "m")) == s.TEXT
    with pytest.raises(StreamInterrupted, match=r"ended before \[DONE\]") as raised:
        text_of(client.chat_stream(HELLO, "m"))
    assert (raised.value.text, raised.value.finish_reason) == (s.TEXT, "stop")


def test_row_73_done_is_the_end_even_if_the_server_does_not_close(make_client, raw_server):
    held = Held(*s.EVENTS)
    server = raw_server([held], [ok()])
    client = make_client(KEY, server.url)
    started = time.monotonic()
    assert text_of(client.chat_stream(HELLO, "m")) == s.TEXT
    assert time.monotonic() - started < SLACK
    assert held.left.wait(10), "the connection is dropped"
    client.chat(HELLO, "m")
    assert server.connections == 2


def test_row_76_broken_utf8_in_a_delta(make_client, raw_server):
    broken = s.EVENTS[1].replace(b"Camem", b"Ca\xffm\xe2\x82em")
    assert streamed(make_client, raw_server, s.EVENTS[0], broken, *s.EVENTS[2:]) == s.TEXT.replace(
        "Camem", "Ca\ufffdm\ufffdem"
    )


def test_row_80_an_endless_line_is_not_read_to_its_end(make_client, raw_server):
    sent = []
    server = raw_server([lambda connection: sent.append(s.line_of_100_mib(connection, "chat_stream"))])
    client = make_client(KEY, server.url, limits=Limits(event=4 * MIB))
    error, most = extra_memory(client, "chat_stream", ProtocolError)
    assert error.text == s.PART
    assert most <= 2 * 4 * MIB
    server.close()
    assert sent[0] < 20 * MIB, "what was sent and not read fits the buffers of two sockets"


# --- F. life cycle and concurrency ---


@BACKENDS
def test_row_82_a_cancelled_stream_leaves_the_pool_whole(raw_server, backend):
    held = [Held() for _ in range(3)]
    server = raw_server(*([one] for one in held), [ok(), None])

    async def main():
        async with MistralAsyncClient(KEY, server.url, max_concurrent_requests=1) as client:
            for _ in held:
                with anyio.CancelScope() as scope:
                    async for _ in client.chat_stream(HELLO, "m"):
                        scope.cancel()
                assert scope.cancelled_caught
            return await client.chat(HELLO, "m", timeout=10)

    assert anyio.run(main, backend=backend).choices[0].message.content == "hi"
    assert all(one.left.wait(10) for one in held), "the sockets are closed"


@BACKENDS
@BOTH
def test_row_82_a_call_that_is_cancelled_before_its_answer(raw_server, backend, call):
    received, left = threading.Event(), threading.Event()

    def silent(connection):
        received.set()
        s.stall(connection)
        left.set()

    server = raw_server([silent], [ok(), None])

    async def one(client):
        if call == "chat":
            await client.chat(HELLO, "m")
        else:
            async for _ in client.chat_stream(HELLO, "m"):
                pass

    async def main():
        async with MistralAsyncClient(KEY, server.url, max_concurrent_requests=1) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one, client)
                await anyio.to_thread.run_sync(received.wait, 10)
                tasks.cancel_scope.cancel()
            return await client.chat(HELLO, "m", timeout=10)

    assert anyio.run(main, backend=backend).choices[0].message.content == "hi"
    assert left.wait(10)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@BOTH
def test_row_82_a_synchronous_call_that_is_interrupted(raw_server, call):
    held = Held() if call == "chat_stream" else s.stall
    server = raw_server([held], [ok(), None])

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with MistralClient(KEY, server.url) as client:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                ask(client, call)
            assert client.chat(HELLO, "m", timeout=10).choices[0].message.content == "hi"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert call == "chat" or held.left.wait(10)


@BACKENDS
@pytest.mark.parametrize("order", ["cancel, then free", "free, then cancel"])
def test_row_83_who_is_cancelled_in_the_queue_takes_no_place(raw_server, backend, order):
    size = 2
    server = raw_server(*[[Held()]] * size, [ok(), None])

    async def main():
        async with MistralAsyncClient(KEY, server.url, 0, max_concurrent_requests=size) as client:
            streams = [client.chat_stream(HELLO, "m") for _ in range(size)]
            for stream in streams:
                await anext(stream)
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(client.chat, HELLO, "m")
                await anyio.wait_all_tasks_blocked()
                if order == "cancel, then free":
                    tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    for stream in streams:
                        await stream.close()
                tasks.cancel_scope.cancel()
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(partial(client.chat, HELLO, "m", timeout=10))

    anyio.run(main, backend=backend)
    assert len(server.requests) >= size + 10


@BACKENDS
def test_row_83_the_queue_moves_on_when_its_head_is_cancelled(raw_server, backend):
    server = raw_server([Held()], [ok(), None])

    async def main():
        async with MistralAsyncClient(KEY, server.url, 0, max_concurrent_requests=1) as client:
            stream = client.chat_stream(HELLO, "m")
            await anext(stream)
            async with anyio.create_task_group() as survivors, anyio.create_task_group() as tasks:
                tasks.start_soon(client.chat, HELLO, "m")
                await anyio.wait_all_tasks_blocked()
                survivors.start_soon(partial(client.chat, HELLO, "m", timeout=10))
                await anyio.wait_all_tasks_blocked()
                await stream.close()
                tasks.cancel_scope.cancel()

    anyio.run(main, backend=backend)


def test_row_84_a_stream_that_is_left_half_way(make_client, raw_server):
    held = Held()
    server = raw_server([held])
    client = make_client(KEY, server.url)

    def leave():
        for _ in client.chat_stream(HELLO, "m"):
            break
        gc.collect()

    with pytest.warns(ResourceWarning, match="close it"):
        leave()
    assert held.left.wait(10), "the connection is closed"


def test_row_84_a_stream_that_is_never_iterated(make_client, raw_server):
    server = raw_server([Held()])
    client = make_client(KEY, server.url)

    def leave():
        client.chat_stream(HELLO, "m")
        gc.collect()

    with pytest.warns(ResourceWarning, match="close it"):
        leave()
    assert server.connections == 0


def test_row_84_a_stream_that_is_entered_and_never_iterated(make_client, raw_server):
    held = Held()
    client = make_client(KEY, raw_server([held]).url)
    with client.chat_stream(HELLO, "m"):
        pass
    assert held.left.wait(10)


def test_row_84_no_warning_where_all_is_well(make_client, raw_server):
    client = make_client(KEY, raw_server([ok("chat_stream")]).url)
    list(client.chat_stream(HELLO, "m"))
    with client.chat_stream(HELLO, "m") as stream:
        next(stream)
    client.chat_stream(HELLO, "m").close()
    gc.collect()  # a warning would be an error


def test_row_85_one_async_client_in_a_second_event_loop(raw_server):
    server = raw_server([ok(), None])

    def work():
        client = MistralAsyncClient(KEY, server.url, 0)
        for _ in range(3):
            assert asyncio.run(client.chat(HELLO, "m")).choices[0].message.content == "hi"
        # Another one is closed in each loop.
        client = MistralAsyncClient(KEY, server.url, 0)
        for _ in range(2):
            assert asyncio.run(used_and_closed(client)) == "hi"

    with warnings.catch_warnings():
        # The first loops end with their connections open, which is the fault.
        warnings.simplefilter("ignore", ResourceWarning)
        work()
        gc.collect()
    assert (len(server.requests), server.connections) == (5, 5)


async def used_and_closed(client):
    answer = await client.chat(HELLO, "m")
    await client.close()
    return answer.choices[0].message.content


def in_a_child(work):
    """Whether a forked child can do it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the test's own servers are threads
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@BOTH
def test_row_86_a_fork_after_use(raw_server, call):
    server = raw_server([ok(call), None])
    with MistralClient(KEY, server.url, 0, 10.0) as client:

        def work():
            ask(client, call)
            os._exit(42)

        ask(client, call)
        assert in_a_child(work)
        ask(client, call)
    assert (len(server.requests), server.connections) == (3, 2), "the parent's connection was left alone"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_row_86_a_fork_after_use_of_an_async_client(raw_server):
    server = raw_server([ok(), None])
    client = MistralAsyncClient(KEY, server.url, 0, 10.0)

    def work():
        asyncio.run(used_and_closed(client))
        os._exit(42)

    asyncio.run(used_and_closed(client))
    assert in_a_child(work)
    asyncio.run(used_and_closed(client))
    assert len(server.requests) == 3


@CLIENTS
@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_row_87_a_client_is_not_copied(kind, copied):
    with pytest.raises(TypeError) as raised:
        copied(kind(KEY))
    assert KEY not in str(raised.value)


FAILURES = {
    "status": ("chat", [http(json.dumps(s.WORDS).encode(), "500 Oh", "application/json", "x-request-id: abc")]),
    "connection": ("chat", []),
    "timeout": ("chat", [s.stall]),
    "protocol": ("chat", [b"nonsense\r\n\r\n"]),
    "stream": ("chat_stream", [partial(s.stream_reset, call="chat_stream")]),
    "error in a stream": ("chat_stream", [partial(s.error_object_in_data, call="chat_stream")]),
}


@pytest.fixture(params=FAILURES)
def error(request, make_client, raw_server):
    """An error as a call raises it, of every kind."""
    call, script = FAILURES[request.param]
    with pytest.raises(MistralException) as raised:
        ask(make_client(KEY, raw_server(script).url, 0, 0.2), call)
    return raised.value


@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_row_87_an_error_is_copied_whole(error, copied):
    twin = copied(error)
    assert type(twin) is type(error)
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))
    assert KEY.encode() not in pickle.dumps(error)
    if isinstance(error, StreamInterrupted):
        assert twin.text == s.PART


# --- G. secrets ---


def refused_as_a_key(kind, key, monkeypatch, says):
    monkeypatch.setenv("MISTRAL_API_KEY", key)
    for given in (key, None):
        with pytest.raises(ConfigurationError, match=says) as raised:
            kind(given)
        assert isinstance(raised.value, ValueError)
        for error in chain(raised.value):
            assert "sesame" not in f"{error} {error!r} {vars(error)} {error.args}"


@CLIENTS
@pytest.mark.parametrize("key", ["sesame\n", "sesame\r\n", " sesame", "ses ame\t", "Bearer sesame", "sesame\x7f"])
def test_row_88_a_key_with_white_space(kind, monkeypatch, key):
    refused_as_a_key(kind, key, monkeypatch, "newline")


@CLIENTS
@pytest.mark.parametrize("key", ["sesamé-sesame", "sesame\u200b", "\ufeffsesame", "“sesame”", "sesame\udc80"])
def test_row_89_a_key_with_other_letters(kind, monkeypatch, key):
    refused_as_a_key(kind, key, monkeypatch, "non-ASCII")


@CLIENTS
def test_row_90_an_empty_key(kind, monkeypatch):
    refused_as_a_key(kind, "", monkeypatch, r"API key is empty.*MISTRAL_API_KEY")


@CLIENTS
@pytest.mark.parametrize("key", [" ", "\n"])
def test_row_90_a_blank_key(kind, monkeypatch, key):
    refused_as_a_key(kind, key, monkeypatch, "API key")


def shown(thing):
    """All that `repr`, `str` and `vars` show of something, and of what it is made of here."""
    yield f"{thing!r} {thing}"
    for value in getattr(thing, "__dict__", {}).values():
        if type(value).__module__.startswith("mistral_client"):
            yield from shown(value)
        yield repr(value)


def test_row_91_the_key_is_not_shown(make_client, raw_server):
    server = raw_server([Held()], [partial(s.says, call="chat", status="401 No")])
    client = make_client(KEY, server.url, 0)
    stream = client.chat_stream(HELLO, "m")
    next(stream)
    with pytest.raises(Exception, match="no capacity") as raised:
        client.chat(HELLO, "m")
    inside = vars(client).get("_client", client)
    for thing in (client, inside, vars(stream).get("_stream", stream), raised.value):
        assert not [text for text in shown(thing) if KEY in text]
    assert f"Bearer {KEY}".encode() in server.requests[0], "which was there to be shown"
    stream.close()


def test_row_92_the_root_logger_hears_no_secret(make_client, raw_server, caplog):
    caplog.set_level(logging.DEBUG)
    prompt, answer = "a prompt of my own", "hi"
    echo = http(json.dumps({"message": f"cannot read {prompt!r}"}).encode(), "400 Bad Request")
    busy = http(b"{}", "503 Down", "application/json", "retry-after-ms: 1")
    server = raw_server([busy], [ok()], [ok("chat_stream")], [echo], [s.close], [s.stall])
    client = make_client(KEY, server.url, 1)
    messages = [{"role": "user", "content": prompt}]
    client.chat(messages, "m")
    assert text_of(client.chat_stream(messages, "m")) == s.TEXT
    for kind in (InvalidRequestError, MistralConnectionException, RequestTimeout):
        with pytest.raises(kind):
            client.chat(messages, "m", max_retries=0, timeout=0.2)
    assert len(server.requests) == 6
    assert "mistral_client" in {record.name for record in caplog.records}
    for record in caplog.records:
        text = f"{record.getMessage()} {record.__dict__}"
        assert KEY not in text
        assert prompt not in text
        assert "Camem" not in text
        assert f"'{answer}'" not in text


def test_row_93_no_request_hangs_on_an_error(error):
    for behind in chain(error):
        assert not hasattr(behind, "request")
        assert not hasattr(behind, "response")
        assert KEY not in f"{behind!r} {behind} {vars(behind)}"


def test_row_93_tls_errors_hold_no_key(make_client, raw_server):
    server = raw_server([ok()])
    with pytest.raises(MistralConnectionException) as raised:
        make_client(KEY, server.url.replace("http:", "https:")).chat(HELLO, "m")
    causes = list(chain(raised.value))
    assert any(isinstance(cause, ssl.SSLError) for cause in causes)
    for behind in causes:
        assert not hasattr(behind, "request")
        assert KEY not in f"{behind!r} {behind} {vars(behind)}"
