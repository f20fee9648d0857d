"""Clients with other defaults over the same connections: synchronous, on asyncio and on trio."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import anyio
import httpx
import pytest

from mistral_client import (
    AuthenticationError,
    ConfigurationError,
    MistralAsyncClient,
    MistralClient,
    RequestTimeout,
    ServerError,
)

from .conftest import HELLO, http
from .test_clients import KEY, OK, STREAM, TEXT, header, text_of
from .test_hooks import OTHER, Recorder

DOWN = http(b"{}", "503 Down")


def test_the_connections_are_shared(make_client, raw_server):
    server = raw_server([OK, None])
    client = make_client(KEY, server.url)
    child = client.with_options(timeout=30)
    for one in (client, child, child.with_options(max_retries=0), client):
        one.chat(HELLO, "m")
    assert (len(server.requests), server.connections) == (4, 1)
    assert {header(request, "authorization") for request in server.requests} == {f"Bearer {KEY}"}


def test_closing_the_child_leaves_the_connections_open(make_client, raw_server):
    server = raw_server([OK, None])
    client = make_client(KEY, server.url)
    child = client.with_options()
    child.chat(HELLO, "m")
    child.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        child.chat(HELLO, "m")
    client.chat(HELLO, "m")
    assert server.connections == 1


@pytest.mark.parametrize("asked_before", [True, False])
def test_closing_the_parent_closes_the_child(make_client, raw_server, asked_before):
    server = raw_server([OK, None])
    client = make_client(KEY, server.url)
    child = client.with_options()
    grandchild = child.with_options()
    if asked_before:
        child.chat(HELLO, "m")
    client.close()
    for one in (child, grandchild):
        with pytest.raises(RuntimeError, match="the client is closed"):
            one.chat(HELLO, "m")


def test_max_retries(make_client, raw_server):
    server = raw_server([DOWN])
    client = make_client(KEY, server.url, 0)
    with pytest.raises(ServerError) as raised:
        client.with_options(max_retries=1).chat(HELLO, "m")
    assert raised.value.attempts == 2
    with pytest.raises(ServerError) as raised:
        client.chat(HELLO, "m")
    assert raised.value.attempts == 1, "the parent is as it was"


def test_the_retry_budget_is_shared(make_client, raw_server):
    server = raw_server([DOWN])
    client = make_client(KEY, server.url, 1)
    clients = [client, client.with_options(), client.with_options(timeout=9)]
    attempts = 0
    for one in clients * 2:
        with pytest.raises(ServerError) as raised:
            one.chat(HELLO, "m")
        attempts += raised.value.attempts
    assert attempts == 6 + 4


def test_timeout_and_deadline(make_client, raw_server):
    server = raw_server([30.0])
    client = make_client(KEY, server.url, 0)
    for child in (
        client.with_options(timeout=0.05),
        client.with_options(timeout=httpx.Timeout(30, read=0.05)),
        client.with_options(deadline=0.05),
        client.with_options(deadline=0.05).with_options(max_retries=0),
    ):
        with pytest.raises(RequestTimeout):
            child.chat(HELLO, "m")


def test_no_deadline(make_client, raw_server):
    server = raw_server([OK, None])
    client = make_client(KEY, server.url, deadline=1e-9)
    with pytest.raises(RequestTimeout):
        client.chat(HELLO, "m")
    assert client.with_options(deadline=math.inf).chat(HELLO, "m").choices[0].message.content == "hi"


def test_a_client_of_the_users_own_gets_the_timeout(raw_server):
    server = raw_server([30.0], [OK, None])
    with httpx.Client(timeout=30) as given, MistralClient(KEY, server.url, 0, http_client=given) as client:
        with pytest.raises(RequestTimeout):
            client.with_options(timeout=0.05).chat(HELLO, "m")
        assert client.chat(HELLO, "m").choices[0].message.content == "hi"


def test_headers(make_client, raw_server):
    server = raw_server([OK, None], [*STREAM, None], [OK, None], [OK, None])
    client = make_client(KEY, server.url)
    child = client.with_options(extra_headers={"X-Team": "cheese", "accept": "application/json; q=1"})
    child.chat(HELLO, "m")
    assert text_of(child.chat_stream(HELLO, "m", extra_headers={"x-team": "wine", "X-Cup": "1"})) == TEXT
    child.with_options(extra_headers={}).chat(HELLO, "m")
    client.chat(HELLO, "m")
    assert [header(request, "x-team") for request in server.requests] == ["cheese", "wine", "", ""]
    assert [header(request, "x-cup") for request in server.requests] == ["", "1", "", ""]
    heads = [request.lower().partition(b"\r\n\r\n")[0] for request in server.requests]
    assert [head.count(b"\r\naccept:") for head in heads] == [1] * 4, "one of each name"
    assert header(server.requests[0], "accept") == "application/json; q=1"
    assert header(server.requests[0], "authorization") == f"Bearer {KEY}"


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_another_key_is_refused(make_client, name):
    client = make_client(KEY, "http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="extra_headers: Authorization is the client's key") as raised:
        client.with_options(extra_headers={name: f"Bearer {OTHER}"})
    assert OTHER not in str(raised.value)


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_another_key_for_one_call_is_sent_once(make_client, raw_server, name):
    server = raw_server([OK, None])
    make_client(KEY, server.url).chat(HELLO, "m", extra_headers={name: f"Bearer {OTHER}"})
    assert header(server.requests[0], "authorization") == f"Bearer {OTHER}"
    assert server.requests[0].lower().count(b"authorization:") == 1


def test_secrets_in_headers_are_hidden(make_client, raw_server):
    body = json.dumps({"message": f"{OTHER} of {KEY} of cheese"}).encode()
    server = raw_server([http(body, "401 No", "application/json", f"x-echo: {OTHER}")])
    client = make_client(KEY, server.url).with_options(extra_headers={"X-Gateway-Token": OTHER, "X-Team": "cheese"})
    with pytest.raises(AuthenticationError) as raised:
        client.chat(HELLO, "m")
    assert header(server.requests[0], "x-gateway-token") == OTHER
    assert raised.value.message == "*** of *** of cheese"
    assert raised.value.headers["x-echo"] == "***"
    assert OTHER not in repr(client) + repr(vars(getattr(client, "_client", client)))


def test_hooks(make_client, raw_server):
    server = raw_server([OK, None])
    first, second = Recorder(), Recorder()
    client = make_client(KEY, server.url, hooks=[first])
    for one in (client.with_options(hooks=[second]), client.with_options(hooks=[]), client.with_options(timeout=9)):
        one.chat(HELLO, "m")
    assert (len(first.of("Call")), len(second.of("Call"))) == (1, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": 0}, "timeout: 0"),
        ({"max_retries": -1}, "max_retries: -1 is less than 0"),
        ({"deadline": 0}, "deadline: 0 is not"),
        ({"extra_headers": {"X-Team": "ch\u00e9"}}, "extra_headers: 'X-Team' cannot be sent"),
        ({"extra_headers": {"X-Team": 1}}, "extra_headers: 'X-Team' cannot be sent"),
        ({"hooks": [Recorder]}, "is not an instance of Hooks"),
    ],
)
def test_what_cannot_be_is_refused(make_client, options, words):
    with pytest.raises(ConfigurationError, match=words):
        make_client(KEY, "http://127.0.0.1:9").with_options(**options)


def test_a_child_is_of_its_parents_kind(flavour):
    base = MistralClient if flavour == "sync" else MistralAsyncClient

    class Own(base):
        def __init__(self):
            super().__init__(KEY, "http://127.0.0.1:9")
            self.name = "own"

    child = Own().with_options(timeout=1)
    assert (type(child), child.name) == (Own, "own")
    with pytest.raises(TypeError, match="holds connections"):
        child.__reduce__()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_one_event_loop_after_another(raw_server, backend):
    server = raw_server([OK, None])
    client = MistralAsyncClient(KEY, server.url)
    child = client.with_options(max_retries=0)

    async def run():
        await child.chat(HELLO, "m")
        await client.chat(HELLO, "m")
        await child.close()
        with pytest.raises(RuntimeError, match="the client is closed"):
            await child.chat(HELLO, "m")
        await client.close()

    for _ in range(2):
        anyio.run(run, backend=backend)
    assert (len(server.requests), server.connections) == (4, 2)


FORK = """
import os, sys
from mistral_client import MistralClient

hello = [{"role": "user", "content": "hello"}]
client = MistralClient("key", sys.argv[1])
child = client.with_options(max_retries=0)
child.chat(hello, "m")
process = os.fork()
child.chat(hello, "m")
if process == 0:
    os._exit(0)
os.waitpid(process, 0)
client.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_on_both_sides_of_a_fork(raw_server):
    server = raw_server([OK, None])
    subprocess.run([sys.executable, "-W", "error", "-c", FORK, server.url], check=True, timeout=60)
    assert (len(server.requests), server.connections) == (3, 2)
