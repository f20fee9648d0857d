"""The clients against real bytes on real sockets: synchronous, on asyncio and on trio."""

from __future__ import annotations

import copy
import gzip
import json
import logging
import os
import pickle
import random
import re
import socket
import socketserver
import sys
import threading
import time

import anyio
import httpx
import pytest
import respx

import mistral_client
from mistral_client import (
    ArgumentError,
    AuthenticationError,
    ChatMessage,
    ConfigurationError,
    InvalidRequestError,
    Limits,
    MistralAsyncClient,
    MistralClient,
    MistralConnectionException,
    ProtocolError,
    RateLimitError,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
    _pool,
)

from .conftest import HELLO, SOAK, chunk, chunked_head, http, reset
from .test_chunks import EVENTS, TEXT
from .test_exchange import ANSWER

KEY = "secret-KEY-0123456789"
OK = http(json.dumps(ANSWER).encode())
STREAM = [chunked_head(), *map(chunk, EVENTS), b"0\r\n\r\n"]
UNAUTHORIZED = http(b'{"detail":"Unauthorized"}', "401 Unauthorized")
BUSY = http(b'{"message":"busy","code":"3505"}', "429 Too Many Requests", "application/json", "retry-after-ms: 20")


def text_of(stream):
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def header(request, name):
    lines = dict(line.split(b": ", 1) for line in request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    return {key.lower(): value for key, value in lines.items()}.get(name.encode(), b"").decode()


def test_chat(make_client, raw_server):
    server = raw_server([OK, None])
    client = make_client(KEY, server.url + "/v1")
    answer = client.chat(model="m", messages=[ChatMessage(role="user", content="hello")], temperature=0.5)
    assert answer.choices[0].message.content == "hi"
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert json.loads(body) == {"model": "m", "messages": HELLO, "temperature": 0.5}
    assert header(server.requests[0], "authorization") == f"Bearer {KEY}"
    assert header(server.requests[0], "accept") == "application/json"
    assert header(server.requests[0], "content-type") == "application/json"
    assert header(server.requests[0], "user-agent") == f"mistral-client-python/{mistral_client.__version__}"


def test_connections_are_kept(make_client, raw_server):
    server = raw_server([OK, None])
    client = make_client(KEY, server.url)
    for _ in range(3):
        client.chat(HELLO, "m")
    assert (len(server.requests), server.connections) == (3, 1)


def test_stream(make_client, raw_server):
    server = raw_server([*STREAM, None])
    client = make_client(KEY, server.url)
    for _ in range(3):
        chunks = list(client.chat_stream("m", HELLO))
        assert text_of(chunks) == TEXT
        assert chunks[-1].usage.total_tokens == 6
    assert header(server.requests[0], "accept") == "text/event-stream"
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["stream"] is True
    assert server.connections == 1, "a stream that was read to its end gives its connection back"


def test_each_chunk_is_handed_on_as_it_arrives(make_client, raw_server):
    server = raw_server([chunked_head(), chunk(EVENTS[0]), chunk(EVENTS[1]), 30.0])
    stream = make_client(KEY, server.url).chat_stream(HELLO, "m")
    started = time.monotonic()
    assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "Camem"]
    assert time.monotonic() - started < 10
    stream.close()


def test_a_stream_is_a_context_manager(make_client, raw_server):
    server = raw_server(STREAM)
    with make_client(KEY, server.url).chat_stream(HELLO, "m") as stream:
        assert len(server.requests) == 1, "the request is sent on entering"
        assert next(stream).choices[0].delta.role == "assistant"
    assert list(stream) == [], "closed"


def test_a_stream_that_is_never_read_sends_nothing(make_client, raw_server):
    server = raw_server(STREAM)
    make_client(KEY, server.url).chat_stream(HELLO, "m").close()
    assert server.requests == []


def test_a_server_that_never_ends_after_done_does_not_hold_the_reader(make_client, raw_server):
    server = raw_server([*STREAM[:-1], 30.0])
    started = time.monotonic()
    assert text_of(make_client(KEY, server.url).chat_stream(HELLO, "m")) == TEXT
    assert time.monotonic() - started < 10


BEFORE_THE_FIRST_EVENT = {
    "reset at once": [chunked_head(), reset],
    "cut at once": [chunked_head()],
    "cut in the first event": [chunked_head(), chunk(EVENTS[0][:20])],
    "reset after a comment": [chunked_head(), chunk(b": hello\n\n"), reset],
    "busy, said as an event": [chunked_head(), chunk(b'data: {"error": {"message": "overloaded"}}\n\n')],
}


@pytest.mark.parametrize("script", BEFORE_THE_FIRST_EVENT.values(), ids=BEFORE_THE_FIRST_EVENT)
def test_until_its_first_chunk_a_stream_is_tried_again(make_client, raw_server, script):
    server = raw_server(script, script, STREAM)
    assert text_of(make_client(KEY, server.url).chat_stream(HELLO, "m")) == TEXT
    assert len(server.requests) == 3
    assert len({header(request, "idempotency-key") for request in server.requests}) == 1


def test_a_program_that_seeds_its_random_numbers_sends_another_key_with_each_call(make_client, raw_server):
    server = raw_server([http(json.dumps(ANSWER).encode()), None])
    client = make_client(KEY, server.url)
    for _ in range(3):
        random.seed(0)
        client.chat(HELLO, "m")
    assert len({header(request, "idempotency-key") for request in server.requests}) == 3


def test_a_stream_that_never_begins(make_client, raw_server):
    server = raw_server([chunked_head()])
    with pytest.raises(MistralConnectionException, match="broke") as raised:
        list(make_client(KEY, server.url, 1).chat_stream(HELLO, "m"))
    assert (raised.value.attempts, len(server.requests)) == (2, 2)


def test_an_empty_stream_is_an_interruption(make_client, raw_server):
    server = raw_server([chunked_head(), b"0\r\n\r\n"])
    with pytest.raises(StreamInterrupted, match="before"), make_client(KEY, server.url).chat_stream(HELLO, "m"):
        pass


CUTS = {
    "clean end": [chunked_head(), *map(chunk, EVENTS[:2]), b"0\r\n\r\n"],
    "no last chunk": [chunked_head(), *map(chunk, EVENTS[:2])],
    "inside a chunk": [chunked_head(), *map(chunk, EVENTS[:2]), b"ff\r\ndata: {"],
    "closed between events": [b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", *EVENTS[:2]],
    "closed inside an event": [
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        *EVENTS[:2],
        EVENTS[3][:9],
    ],
}


@pytest.mark.parametrize("script", CUTS.values(), ids=CUTS)
def test_a_stream_that_is_cut_keeps_its_text(make_client, raw_server, script):
    server = raw_server(script)
    seen = []
    with pytest.raises(StreamInterrupted) as raised:
        seen.extend(make_client(KEY, server.url).chat_stream(HELLO, "m"))
    assert raised.value.text == "Camem"
    assert len(server.requests) == 1, "what was handed out cannot be asked for again"


def test_silence_in_mid_stream(make_client, raw_server):
    server = raw_server([chunked_head(), *map(chunk, EVENTS[:2]), 30.0])
    with pytest.raises(StreamInterrupted, match="in time") as raised:
        list(make_client(KEY, server.url).chat_stream(HELLO, "m", timeout=0.2))
    assert raised.value.text == "Camem"


def test_errors_of_a_stream_have_the_servers_words(make_client, raw_server):
    server = raw_server([UNAUTHORIZED])
    with pytest.raises(AuthenticationError, match="Unauthorized"):
        list(make_client(KEY, server.url).chat_stream(HELLO, "m"))
    with pytest.raises(AuthenticationError), make_client(KEY, server.url).chat_stream(HELLO, "m"):
        pass


def test_completion(make_client, raw_server):
    server = raw_server([OK, None], [*STREAM, None])
    client = make_client(KEY, server.url)
    assert client.completion("codestral", "def f(", "return 1", max_tokens=9).choices[0].message.content == "hi"
    assert text_of(client.completion_stream("codestral", "def f(", stop="x")) == TEXT
    heads, bodies = zip(*(request.split(b"\r\n\r\n") for request in server.requests), strict=True)
    assert [head.split(b"\r\n")[0] for head in heads] == [b"POST /v1/fim/completions HTTP/1.1"] * 2
    assert [json.loads(body) for body in bodies] == [
        {"model": "codestral", "prompt": "def f(", "suffix": "return 1", "max_tokens": 9},
        {"model": "codestral", "prompt": "def f(", "stop": "x", "stream": True},
    ]


@pytest.mark.parametrize(
    ("model_id", "path"),
    [("m", b"m"), ("a/../b?c#d %2e", b"a%2F..%2Fb%3Fc%23d%20%252e"), ("..", b"%2E%2E"), (".", b"%2E")],
)
def test_one_model(make_client, raw_server, model_id, path):
    card = {"id": model_id, "object": "model", "capabilities": {"completion_fim": True}}
    server = raw_server(
        [http(json.dumps(card).encode()), None],
        [http(json.dumps({"id": model_id, "object": "model", "deleted": True}).encode())],
    )
    client = make_client(KEY, server.url)
    answer = client.retrieve_model(model_id)
    assert (answer.id, answer.capabilities) == (model_id, {"completion_fim": True})
    assert client.delete_model(model_id).model_dump() == {"id": model_id, "object": "model", "deleted": True}
    for request, method in zip(server.requests, (b"GET", b"DELETE"), strict=True):
        assert request.startswith(b"%s /v1/models/%s HTTP/1.1\r\n" % (method, path))


@pytest.mark.parametrize("call", ["chat", "chat_stream", "embeddings", "list_models"])
def test_busy_servers_are_asked_again(make_client, raw_server, call):
    good = {
        "chat": OK,
        "chat_stream": b"".join(STREAM),
        "embeddings": http(
            b'{"id":"1","object":"list","data":[],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}'
        ),
        "list_models": http(b'{"object":"list","data":[]}'),
    }[call]
    server = raw_server([BUSY, None], [BUSY], [good])
    arguments = {"chat": (HELLO, "m"), "chat_stream": (HELLO, "m"), "embeddings": ("m", "x"), "list_models": ()}[call]
    answer = getattr(make_client(KEY, server.url), call)(*arguments)
    if call == "chat_stream":
        assert text_of(answer) == TEXT
    assert len(server.requests) == 3
    assert len({header(request, "idempotency-key") for request in server.requests}) == 1
    assert len({request.partition(b"\r\n\r\n")[2] for request in server.requests}) == 1


def test_retries_end(make_client, raw_server):
    server = raw_server([BUSY])
    with pytest.raises(RateLimitError, match="busy") as raised:
        make_client(KEY, server.url).chat(HELLO, "m")
    assert (raised.value.attempts, len(server.requests)) == (3, 3)
    assert raised.value.elapsed >= 0.04
    with pytest.raises(RateLimitError):
        make_client(KEY, server.url, 0).chat(HELLO, "m")
    assert len(server.requests) == 4


def test_a_dead_server_is_left_alone_and_one_that_is_back_is_not(make_client, raw_server):
    down, calls, proven = http(b"{}", "503 Service Unavailable"), 1000, 60 if SOAK else 0
    server = raw_server(*[[OK, None]] * proven, [down, None])
    client = make_client(KEY, server.url)
    for _ in range(proven):
        client.chat(HELLO, "m")
    for _ in range(calls):
        with pytest.raises(ServerError):
            client.chat(HELLO, "m")
    assert calls < len(server.requests) - proven <= 1.05 * calls
    before = len(server.requests)
    server.scripts = [[OK, None]] * (before + 1) + [[down, None], [OK, None]]
    for _ in range(2):
        assert client.chat(HELLO, "m").choices[0].message.content == "hi"
    assert len(server.requests) - before == 3, "what the first answer has earned is there for the next call"


@pytest.mark.parametrize(
    "script", [[], [b"HTTP/1.1 200 OK\r\n"], [http(b"{}")[:-1]]], ids=["nothing", "half a head", "half a body"]
)
def test_a_broken_connection_is_tried_again(make_client, raw_server, script):
    server = raw_server(script, [OK])
    assert make_client(KEY, server.url).chat(HELLO, "m").choices[0].message.content == "hi"
    assert len(server.requests) == 2


def test_what_is_not_http(make_client, raw_server):
    server = raw_server([b"SSH-2.0-OpenSSH_9.6\r\n"])
    with pytest.raises(ProtocolError, match=r"is not HTTP: it begins with b'SSH-2\.0"):
        make_client(KEY, server.url).chat(HELLO, "m")
    assert len(server.requests) == 1


def test_nobody_listens(make_client):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(MistralConnectionException, match=f"no connection to {address}") as raised:
        make_client(KEY, f"http://{address}", 0).chat(HELLO, "m")
    assert raised.value.retryable


def test_a_name_that_nobody_has(make_client):
    with pytest.raises(MistralConnectionException, match="was not found"):
        make_client(KEY, "http://nobody.invalid", 0, http_client=None).list_models()


def test_no_tls_there(make_client, raw_server):
    server = raw_server([OK])
    with pytest.raises(MistralConnectionException, match="no secure connection") as raised:
        make_client(KEY, server.url.replace("http:", "https:")).chat(HELLO, "m")
    assert (raised.value.attempts, raised.value.retryable) == (1, False)


@pytest.mark.parametrize("timeout", [0.2, httpx.Timeout(5, read=0.2)])
def test_a_server_that_is_silent(make_client, raw_server, timeout):
    server = raw_server([30.0])
    with pytest.raises(RequestTimeout, match="did not answer in time") as raised:
        make_client(KEY, server.url, 0, timeout).chat(HELLO, "m")
    assert isinstance(raised.value, TimeoutError)


def test_the_timeout_of_one_call(make_client, raw_server):
    server = raw_server([30.0])
    with pytest.raises(RequestTimeout):
        make_client(KEY, server.url).chat(HELLO, "m", timeout=0.2, max_retries=0)


def test_a_full_pool(make_client, raw_server):
    server = raw_server([*STREAM, None])
    client = make_client(KEY, server.url, 0, httpx.Timeout(5, pool=0.1))
    streams = [client.chat_stream(HELLO, "m") for _ in range(101)]
    try:
        with pytest.raises(RequestTimeout, match="pool"):
            [next(stream) for stream in streams]
    finally:
        [stream.close() for stream in streams]


def test_connections_that_nobody_needs_any_more_are_closed(make_client, raw_server, monkeypatch):
    monkeypatch.setattr(_pool, "KEPT", 0.3)
    server = raw_server([*STREAM, None])
    client = make_client(KEY, server.url)
    streams = [client.chat_stream(HELLO, "m") for _ in range(5)]
    for stream in streams:
        next(stream)
    for stream in streams:
        list(stream)
    assert (server.connections, server.open) == (5, 5)
    time.sleep(0.4)
    list(client.chat_stream(HELLO, "m"))
    deadline = time.monotonic() + 10
    while server.open > 1:
        assert time.monotonic() < deadline, server.open
        time.sleep(0.01)


def test_redirects_are_not_followed(make_client, raw_server):
    elsewhere = raw_server([OK])
    server = raw_server(
        [http(b"", "307 Temporary Redirect", "text/plain", f"location: {elsewhere.url}/v1/chat/completions")]
    )
    with pytest.raises(ProtocolError, match="redirect"):
        make_client(KEY, server.url).chat(HELLO, "m")
    assert elsewhere.requests == []


def test_a_wrong_argument_is_never_sent(make_client, raw_server):
    server = raw_server([OK])
    client = make_client(KEY, server.url)
    for wrong in (
        lambda: client.chat([], "m"),
        lambda: client.chat_stream(HELLO, "m", top_p=2),
        lambda: client.embeddings("m", 7),
    ):
        with pytest.raises(ArgumentError):
            wrong()
    assert server.requests == []


def test_an_endless_error_is_read_no_further_than_it_is_shown(make_client, raw_server):
    page = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/html\r\n\r\n<h1>no</h1>"
    server = raw_server([page, *[b"x" * 65536] * 2, 30.0])
    started = time.monotonic()
    with pytest.raises(InvalidRequestError, match="no xxx") as raised:
        make_client(KEY, server.url).chat(HELLO, "m")
    assert len(raised.value.body) == 10_000
    assert time.monotonic() - started < 10


def test_an_answer_without_measure_is_refused(make_client, raw_server):
    bomb = gzip.compress(b" " * 2 * 1024 * 1024)
    server = raw_server([http(bomb, "200 OK", "application/json", "content-encoding: gzip")])
    with pytest.raises(ProtocolError, match="larger than 1048576 bytes"):
        make_client(KEY, server.url, limits=Limits(response=1024 * 1024)).chat(HELLO, "m")
    assert len(server.requests) == 1


def test_compressed_twice_is_refused(make_client, raw_server):
    server = raw_server(
        [http(gzip.compress(gzip.compress(b"{}")), "200 OK", "application/json", "content-encoding: gzip, gzip")]
    )
    with pytest.raises(ProtocolError, match="compressed as 'gzip, gzip'"):
        make_client(KEY, server.url).chat(HELLO, "m")


def test_compressed_once_is_read(make_client, raw_server):
    body = gzip.compress(json.dumps(ANSWER).encode())
    server = raw_server([http(body, "200 OK", "application/json", "content-encoding: gzip")])
    assert make_client(KEY, server.url).chat(HELLO, "m").choices[0].message.content == "hi"


def test_a_closed_client_says_so(make_client, raw_server):
    server = raw_server([OK])
    client = make_client(KEY, server.url)
    client.chat(HELLO, "m")
    for _ in range(2):
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.chat(HELLO, "m")


def test_extra_headers_and_body(make_client, raw_server):
    server = raw_server([OK])
    make_client(KEY, server.url).chat(HELLO, "m", extra_headers={"X-Team": "cheese"}, extra_body={"guided": 1})
    assert header(server.requests[0], "x-team") == "cheese"
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["guided"] == 1


def test_a_proxy_is_not_asked_about_this_machine(make_client, raw_server, monkeypatch):
    proxy, server = raw_server([OK]), raw_server([OK])
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    make_client(KEY, server.url).chat(HELLO, "m")
    assert (len(proxy.requests), len(server.requests)) == (0, 1)


def test_a_proxy_is_asked_about_the_world(make_client, raw_server, monkeypatch):
    proxy = raw_server([OK])
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    make_client(KEY, "http://api.example").chat(HELLO, "m")
    assert proxy.requests[0].startswith(b"POST http://api.example/v1/chat/completions HTTP/1.1")


class SocksProxy(socketserver.ThreadingTCPServer):
    """Speaks https://www.rfc-editor.org/rfc/rfc1928 and then plays the server itself; or falls silent before that."""

    daemon_threads = True
    silent = False

    class Connection(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(100)
            self.request.sendall(b"\x05\x00")
            self.server.asked = self.request.recv(100)
            if self.server.silent:
                self.request.recv(1)
                return
            self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
            self.request.recv(65536)
            self.request.sendall(OK)


@pytest.mark.parametrize("silent", [False, True])
def test_a_socks_proxy(make_client, monkeypatch, silent):
    with SocksProxy(("127.0.0.1", 0), SocksProxy.Connection) as proxy:
        proxy.silent = silent
        proxy.asked = b""
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.server_address[1]}")
        client = make_client(KEY, "http://api.example", 0)
        if silent:
            with pytest.raises(RequestTimeout):
                client.chat(HELLO, "m", timeout=0.2)
        else:
            assert client.chat(HELLO, "m").choices[0].message.content == "hi"
        proxy.shutdown()
        thread.join()
    assert b"api.example" in proxy.asked


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTPS_PROXY", "nonsense://proxy"), ("HTTPS_PROXY", "socks5://proxy"), ("SSL_CERT_FILE", "/nowhere/at/all.pem")],
)
def test_an_environment_that_cannot_be_used(make_client, monkeypatch, name, value):
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="proxies or certificates"):
        make_client(KEY, "https://api.example").chat(HELLO, "m")


def test_the_key_is_shown_nowhere(make_client, raw_server, caplog):
    caplog.set_level(logging.DEBUG)
    server = raw_server([UNAUTHORIZED])
    client = make_client(KEY, server.url)
    with pytest.raises(AuthenticationError) as raised:
        client.chat(HELLO, "m")
    shown = [repr(client), str(client), repr(raised.value), str(vars(raised.value)), caplog.text]
    assert not [place for place in shown if KEY in place]
    assert server.url in repr(client)


def test_each_attempt_is_a_line_for_who_wants_to_see_it(make_client, raw_server, caplog):
    server = raw_server(
        [BUSY], [http(json.dumps(ANSWER).encode(), "200 OK", "application/json", "mistral-correlation-id: abc")]
    )
    client = make_client(KEY, server.url)
    with caplog.at_level(logging.DEBUG, "mistral_client"):
        client.chat([{"role": "user", "content": "SECRET"}], "m")
    lines = [record.getMessage() for record in caplog.records if record.name == "mistral_client"]
    assert [re.sub(r"[\d.]+ s", "N s", line) for line in lines] == [
        "POST /v1/chat/completions: 429 after N s, request id None",
        "POST /v1/chat/completions: 200 after N s, request id abc",
    ]
    caplog.clear()
    server.close()
    with caplog.at_level(logging.DEBUG, "mistral_client"), pytest.raises(MistralConnectionException):
        client.chat([{"role": "user", "content": "SECRET"}], "m", max_retries=0)
    assert "POST /v1/chat/completions: MistralConnectionException after" in caplog.text
    assert "SECRET" not in caplog.text


def test_nothing_is_logged_unless_asked_for(make_client, raw_server, capfd):
    make_client(KEY, raw_server([OK]).url).chat(HELLO, "m")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [MistralClient, MistralAsyncClient])
@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_is_not_copied(kind, copied):
    with pytest.raises(TypeError, match="build one in each process") as raised:
        copied(kind(KEY))
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("kind", [MistralClient, MistralAsyncClient])
def test_wrong_construction_fails_at_once(kind):
    for arguments in ((), ("key\n",), (KEY, "no url"), ("",), (KEY, None, -1), (KEY, None, 2, 0), (KEY, None, 2, -1.0)):
        with pytest.raises(ConfigurationError):
            kind(*arguments)
    for timeout in (httpx.Timeout(5, read=0), float("nan")):
        with pytest.raises(ConfigurationError, match="timeout: "):
            kind(KEY, timeout=timeout)
    with pytest.raises(ConfigurationError, match="deadline: 0 is"):
        kind(KEY, deadline=0)


@pytest.mark.parametrize("kind", [MistralClient, MistralAsyncClient])
def test_without_the_extra_local_says_what_to_install(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "mistral_client.server.local", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'mistral-client\[local\]'"):
        kind(endpoint="local")


# --- clients and transports of the user's own ---


@respx.mock(base_url="https://api.mistral.ai")
def test_the_exchange_through_respx(respx_mock, make_client):
    route = respx_mock.post("/v1/chat/completions")
    route.side_effect = [
        httpx.Response(503, json={"message": "down"}),
        httpx.ConnectError("reset"),
        httpx.Response(200, json=ANSWER),
    ]
    respx_mock.get("/v1/models").respond(json={"object": "list", "data": [{"id": "m"}]})
    client = make_client(KEY, max_retries=2)
    assert client.chat(HELLO, "m").choices[0].message.content == "hi"
    assert route.call_count == 3
    assert [card.id for card in client.list_models().data] == ["m"]


@respx.mock(base_url="https://api.mistral.ai")
def test_requests_that_respx_refuses(respx_mock, make_client):
    respx_mock.post("/v1/chat/completions").respond(
        400, json={"object": "error", "message": "Invalid model: m", "type": "invalid_model", "code": "1500"}
    )
    with pytest.raises(InvalidRequestError) as raised:
        make_client(KEY).chat(HELLO, "m")
    assert (raised.value.type, raised.value.code, raised.value.http_status) == ("invalid_model", "1500", 400)


def answering(request):
    return httpx.Response(200, json=ANSWER | {"model": request.headers.get("x-who", "nobody")})


def test_a_transport_of_your_own(make_client):
    client = make_client(KEY, transport=httpx.MockTransport(answering))
    assert client.chat(HELLO, "m").model == "nobody"


def test_a_client_of_your_own_stays_open():
    with httpx.Client(transport=httpx.MockTransport(answering), headers={"x-who": "mine"}) as own:
        with MistralClient(KEY, http_client=own) as client:
            assert client.chat(HELLO, "m").model == "mine"
        assert not own.is_closed


def test_a_client_of_your_own_needs_no_local_server(monkeypatch):
    monkeypatch.setitem(sys.modules, "mistral_client.server.local", None)
    with httpx.Client(transport=httpx.MockTransport(answering)) as own:
        assert MistralClient(endpoint="local", http_client=own).chat(HELLO, "m").model == "nobody"


@pytest.mark.asyncio
async def test_an_async_client_of_your_own_stays_open():
    async with httpx.AsyncClient(transport=httpx.MockTransport(answering), headers={"x-who": "mine"}) as own:
        async with MistralAsyncClient(KEY, http_client=own) as client:
            assert (await client.chat(HELLO, "m")).model == "mine"
        assert not own.is_closed


# --- what only one kind of client can get wrong ---


def test_one_async_client_in_many_event_loops(raw_server):
    server = raw_server([OK, None])
    client = MistralAsyncClient(KEY, server.url)

    async def ask():
        answers = [await client.chat(HELLO, "m") for _ in range(2)]
        await client.close()
        return answers

    for backend in ("asyncio", "trio", "asyncio"):
        assert len(anyio.run(ask, backend=backend)) == 2
    assert (len(server.requests), server.connections) == (6, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_connections_of_its_own(raw_server):
    server = raw_server([OK, None])
    with MistralClient(KEY, server.url) as client:
        client.chat(HELLO, "m")
        child = os.fork()
        if child == 0:
            os._exit(client.chat(HELLO, "m").choices[0].message.content == "hi")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        client.chat(HELLO, "m")
    assert (len(server.requests), server.connections) == (3, 2)


@pytest.mark.asyncio
async def test_the_limit_of_concurrent_requests_holds(raw_server):
    server = raw_server([0.05, OK, None])
    async with (
        MistralAsyncClient(KEY, server.url, max_concurrent_requests=3) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(12):
            tasks.start_soon(client.chat, HELLO, "m")
    assert (len(server.requests), server.connections) == (12, 3)


@pytest.mark.asyncio
async def test_the_async_client_waits_without_blocking_the_loop(raw_server):
    server = raw_server([BUSY], [BUSY], [OK])
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await anyio.sleep(0.005)
            ticks += 1

    async with MistralAsyncClient(KEY, server.url) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await client.chat(HELLO, "m")
        tasks.cancel_scope.cancel()
    assert ticks >= 3


@pytest.mark.asyncio
async def test_a_cancelled_stream_closes_its_connection(raw_server):
    server = raw_server([chunked_head(), chunk(EVENTS[0]), 30.0], [OK])
    async with MistralAsyncClient(KEY, server.url, max_concurrent_requests=1) as client:
        with anyio.move_on_after(0.2):
            async for _ in client.chat_stream(HELLO, "m"):
                pass
        assert (await client.chat(HELLO, "m")).choices[0].message.content == "hi"


def test_one_client_in_many_threads(raw_server):
    server = raw_server([OK, None])
    answers = []
    with MistralClient(KEY, server.url) as client:
        threads = [threading.Thread(target=lambda: answers.append(client.chat(HELLO, "m"))) for _ in range(16)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert len(answers) == len(server.requests) == 16
