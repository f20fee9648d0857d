"""Rows of the table that are about connections, over real sockets: what is no request, slow, too large, or not let in."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from mistral_client.cli.http_protocol import Config
from mistral_client.server.guard import LOOPBACK_HOSTS, Guard
from mistral_client.server.keys import Keys
from tests.conftest import chunk
from tests.server.serving import serving
from tests.server.test_app import EchoEngine, eventually

QUICK = {"head_timeout": 0.5, "body_timeout": 1.0}
HOST = "Host: localhost\r\n"
JSON = f"{HOST}Content-Type: application/json\r\n"
GET = f"GET /health HTTP/1.1\r\n{HOST}\r\n"


def post(*headers: str, path: str = "/v1/chat/completions", version: str = "1.1") -> bytes:
    """The head of a request."""
    return f"POST {path} HTTP/{version}\r\n{JSON}{''.join(f'{header}{chr(13)}{chr(10)}' for header in headers)}\r\n".encode()


def asked(text: str, **more: object) -> bytes:
    return json.dumps({"model": "mistral-tiny", "messages": [{"role": "user", "content": text}], **more}).encode()


class Peer:
    """A connection to the server."""

    def __init__(self, url: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20)

    def send(self, data: bytes | str) -> Peer:
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        received = b""
        while more := self.socket.recv(65536):
            received += more
        return received

    def refused(self, status: int) -> None:
        """The only answer is this one, in the API's shape, and the connection is closed after it."""
        head, _, body = self.rest().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), head
        assert b"\r\nmistral-correlation-id: " in head
        assert b"\r\nconnection: close" in head.lower()
        error = json.loads(body)
        assert (error["object"], error["type"], error["param"], error["code"]) == (
            "error",
            "invalid_request_error",
            None,
            None,
        )
        assert error["message"]


@pytest.fixture(scope="module")
def url():
    with serving(Guard(Keys(["secret"]), LOOPBACK_HOSTS, max_body=1000)) as (_, url):
        yield url


KEY = "Authorization: Bearer secret"


@pytest.fixture
def peer(url):
    peer = Peer(url)
    yield peer
    peer.socket.close()


@pytest.fixture
def unlocked():
    """Serves without a key; gives the engine and connects."""
    with contextlib.ExitStack() as ending:

        def make(**options):
            engine = EchoEngine(pause=0.01)
            _, url = ending.enter_context(serving(Guard(), engine=engine, **options))

            def connect():
                peer = Peer(url)
                ending.callback(peer.socket.close)
                return peer

            return engine, connect

        yield make


def test_row1_content_length_above_the_limit(peer):
    started = time.monotonic()
    peer.send(post(KEY, "Content-Length: 1001")).refused(413)
    assert time.monotonic() - started < 10


def test_row1_the_answer_outlives_the_body(peer):
    peer.send(post(KEY, "Content-Length: 5000000") + b" " * 5_000_000).refused(413)


def test_row2_endless_chunks(peer):
    peer.send(post(KEY, "Transfer-Encoding: chunked") + chunk(b" " * 400) * 3).refused(413)


def test_row3_compressed(peer):
    peer.send(post(KEY, "Content-Encoding: gzip", "Content-Length: 2") + b"{}").refused(415)


@pytest.mark.parametrize("sent", ["GET /health HTTP/1.1\r\nHost: local", "G"])
def test_row7_slow_headers(unlocked, sent):
    _, connect = unlocked(**QUICK)
    connect().send(sent).refused(408)


def test_rows_7_and_8_have_the_promised_limits():
    config = Config("app")
    assert (config.head_timeout, config.body_timeout, config.patience) == (10, 30, 30)


def test_row7_silence(unlocked):
    _, connect = unlocked(**QUICK)
    assert connect().rest() == b""


def test_row7_drops_do_not_move_the_deadline(unlocked):
    _, connect = unlocked(**QUICK)
    peer = connect().send("GET /health HTTP/1.1\r\nX: ")
    started = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - started < 8:
            peer.socket.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() - started < 8


@pytest.mark.parametrize("sent", [post("Content-Length: 9") + b"{", post("Transfer-Encoding: chunked") + b"1\r\n{"])
def test_row8_slow_body(unlocked, sent):
    engine, connect = unlocked(**QUICK)
    connect().send(sent).refused(408)
    assert engine.prompts == []


def test_row8_slow_answers_are_not_slow_bodies(unlocked):
    _, connect = unlocked(head_timeout=0.2, body_timeout=0.2)
    body = asked("forever", max_tokens=60)
    answer = connect().send(post(f"Content-Length: {len(body)}", "Connection: close") + body).rest()
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("stream", [False, True])
def test_row12_half_a_close_is_leaving(unlocked, stream):
    engine, connect = unlocked()
    body = asked("forever", stream=stream)
    peer = connect().send(post(f"Content-Length: {len(body)}") + body)
    eventually(lambda: engine.running == 1)
    peer.socket.shutdown(socket.SHUT_WR)
    eventually(lambda: engine.running == 0)
    assert engine.steps < 1000


def test_row12_also_with_the_next_request_sent(unlocked):
    engine, connect = unlocked()
    body = asked("forever")
    peer = connect().send(post(f"Content-Length: {len(body)}") + body + b"GET /heal")
    eventually(lambda: engine.running == 1)
    peer.socket.close()
    eventually(lambda: engine.running == 0)
    assert engine.steps < 1000


@pytest.mark.parametrize("header", ["Authorization: Bearer wrong", "X: y", "Authorization: secret"])
def test_row23_wrong_key(peer, header):
    answer = peer.send(post(header, "Content-Length: 9000") + b"{").rest()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.endswith(b'\r\n\r\n{"detail":"Unauthorized"}')
    assert b"\r\nmistral-correlation-id: " in answer


@pytest.mark.parametrize("path", ["/nowhere", "/openapi.json", "/docs", "/metrics", "/v1/models/x", "/health/", "*"])
def test_row24_default_deny(peer, path):
    assert peer.send(f"GET {path} HTTP/1.1\r\n{HOST}\r\n").rest().startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("host", ["a/health?", "localhost/health?", "localhost/health#"])
def test_row25_crafted_host(peer, host):
    peer.send(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n\r\n").refused(403)


def test_row26_rebinding(peer):
    peer.send("GET /health HTTP/1.1\r\nHost: evil.example:8000\r\n\r\n").refused(403)


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_row27_origin_from_elsewhere(peer, origin):
    peer.send(f"GET /health HTTP/1.1\r\n{HOST}Origin: {origin}\r\n\r\n").refused(403)


def test_row27_no_cors_by_default(peer):
    assert b"access-control" not in peer.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).rest().lower()


@pytest.mark.parametrize("kind", ["", "Content-Type: text/plain\r\n"])
def test_row28_simple_post(peer, kind):
    peer.send(f"POST /v1/chat/completions HTTP/1.1\r\n{HOST}{kind}{KEY}\r\nContent-Length: 2\r\n\r\n{{}}").refused(415)


def test_row38_two_lengths(peer):
    smuggled = b"0\r\n\r\n" + GET.encode()
    peer.send(post(KEY, f"Content-Length: {len(smuggled)}", "Transfer-Encoding: chunked") + smuggled).refused(400)


def test_row38_chunks_in_http_1_0(peer):
    peer.send(post(KEY, "Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n").refused(400)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(GET.replace("\r\n", "\n"), id="bare-LF"),
        pytest.param(f"GET /health HTTP/1.1\r\n{HOST}A: b\nC: d\r\n\r\n", id="one-bare-LF"),
        pytest.param(f"GET /health HTTP/1.1\r\n{HOST}A: b\rC: d\r\n\r\n", id="bare-CR"),
        pytest.param(f"GET /health HTTP/1.1\r\n{HOST}A: b\r\n c\r\n\r\n", id="obs-fold"),
        pytest.param(f"GET /health HTTP/1.1\r\n{HOST}{HOST}\r\n", id="two-hosts"),
        pytest.param("GET /health HTTP/1.1\r\n\r\n", id="no-host"),
        pytest.param(f"GET /health HTTP/1.1\r\n{HOST}A : b\r\n\r\n", id="space-before-colon"),
        pytest.param(post(KEY, "Content-Length: +2") + b"{}", id="signed-length"),
        pytest.param(post(KEY, "Content-Length: 2", "Content-Length: 3") + b"{}", id="two-content-lengths"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="tls"),
        *[
            pytest.param(post(KEY, "Transfer-Encoding: chunked") + body, id=name)
            for name, body in {
                "chunk-too-long": b"2\r\n{}x\r\n0\r\n\r\n",
                "chunk-ends-in-LF": b"2\r\n{}\n0\r\n\r\n",
                "chunk-size-ends-in-LF": b"2\n{}\r\n0\r\n\r\n",
                "chunk-size-no-number": b"x\r\n{}\r\n0\r\n\r\n",
                "chunk-size-negative": b"-2\r\n{}\r\n0\r\n\r\n",
                "last-chunk-ends-in-LF": b"2\r\n{}\r\n0\r\n\n",
                "trailers": b"2\r\n{}\r\n0\r\nA: b\r\n\r\n",
            }.items()
        ],
    ],
)
def test_row39_what_is_no_request(peer, request_):
    peer.send(request_).refused(400)


def test_row39_chunks_in_any_pieces_are_a_request(unlocked):
    engine, connect = unlocked()
    body = asked("one")
    peer = connect()
    for byte in (
        post("Transfer-Encoding: chunked", "Connection: close") + chunk(body[:5]) + chunk(body[5:]) + chunk(b"")
    ):
        peer.send(bytes([byte]))
    assert peer.rest().startswith(b"HTTP/1.1 200 ")
    assert len(engine.prompts) == 1


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(f"GET /health HTTP/1.1\r\n{HOST}X: {'x' * 2**20}\r\n\r\n", id="1-MiB"),
        pytest.param(f"GET /health HTTP/1.1\r\n{HOST}X: {'x' * 40_000}\r\n\r\n", id="40-KB"),
        pytest.param(f"GET /{'x' * 2**20} HTTP/1.1\r\n{HOST}\r\n", id="long-path"),
        pytest.param(f"GET /health HTTP/1.1\r\n{HOST}" + "X: y\r\n" * 5000 + "\r\n", id="5000-fields"),
        pytest.param(f"GET /health HTTP/1.1\r\n{HOST}" + "X: y\r\n" * 100 + "\r\n", id="101-fields"),
    ],
)
def test_row40_large_heads(peer, head):
    peer.send(head).refused(431)


def test_row46_told_to_end_with_answers_on_their_way_and_waiting():
    engine = EchoEngine(pause=0.02)
    body = asked("forever", stream=True)
    with contextlib.ExitStack() as closing:
        with serving(Guard(), engine=engine, grace=0.5) as (_, url):
            request = post(f"Content-Length: {len(body)}") + body
            peers = [Peer(url).send(request) for _ in range(engine.slots)]
            eventually(lambda: engine.running == engine.slots)
            waiting = Peer(url).send(request)
            for peer in (*peers, waiting):
                closing.callback(peer.socket.close)
            time.sleep(0.3)  # until it waits
            started = time.monotonic()
        # The echo does not end when its engine is closed; what remains is cut off.
        assert time.monotonic() - started < 15
        assert waiting.rest().startswith(b"HTTP/1.1 503 ")
        with pytest.raises(OSError, match="refused"):
            Peer(url)
