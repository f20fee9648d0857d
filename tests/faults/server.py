"""The faults of servers and networks, one function each: real bytes on a real socket.

A fault is called with the connection, from which the request was read, and with the name of the method that was called.
It sends what the server sends; when it returns, the connection is closed. `conftest.RawServer` runs it.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import socket
import ssl
import time
import zlib
from pathlib import Path

from ..conftest import RawServer, chunk, chunked_head, http, reset
from ..test_chunks import EVENTS, TEXT, USAGE, event
from ..test_exchange import ANSWER

__all__ = ["ANSWERS", "EVENTS", "TEXT", "USAGE"]

CALLS = ["chat", "chat_stream", "embeddings", "list_models"]
WHOLE = ["chat", "embeddings", "list_models"]

EMBEDDINGS = {
    "id": "1",
    "object": "list",
    "model": "m",
    "data": [{"object": "embedding", "embedding": [0.5], "index": 0}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}
ANSWERS = {
    "chat": ANSWER,
    "chat_stream": {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "hi"}}]},
    "embeddings": EMBEDDINGS,
    "list_models": {"object": "list", "data": [{"id": "m"}]},
}
"""What a server answers; for a stream, one of its chunks."""

WORDS = {"object": "error", "message": "no capacity", "type": "overloaded", "code": "3505"}
PAGE = "<html><head><title>x</title></head><body><h1>Log in to the Wi-Fi</h1>" + "<p>portal</p>" * 2000
PART = "Camem"
"""What the streams that break off have said until then."""

_CLOSE_DELIMITED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def whole(call, *headers):
    """The bytes of a right answer."""
    if call == "chat_stream":
        return chunked_head() + b"".join(map(chunk, EVENTS)) + b"0\r\n\r\n"
    return http(json.dumps(ANSWERS[call]).encode(), "200 OK", "application/json", *headers)


def right(connection, call):
    connection.sendall(whole(call))


# --- how a connection is left ---


def close(connection, call=""):
    """Returning is closing."""


def stall(connection, call=""):
    """Nothing is sent until the other end has left."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def flood(connection, piece, most):
    """Sends the same piece again and again; how many bytes went out before the other end left."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
    return sent


# --- A. connecting ---


def banner_of_ssh(connection, call):
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


def page_without_a_head(connection, call):
    """As before HTTP/1.0."""
    connection.sendall(b"<html><body>hello</body></html>\r\n\r\n")


def header_of_1_mib(connection, call):
    connection.sendall(b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 2**20 + b"\r\n\r\n")


def head_cut(connection, call):
    connection.sendall(whole(call)[:20])


def head_cut_by_a_reset(connection, call):
    head_cut(connection, call)
    reset(connection)


# --- B. bodies ---


def body_cut(connection, call):
    """Less than its Content-Length; of a stream, less than its first event."""
    head, end, body = whole(call).partition(b"\r\n\r\n")
    connection.sendall(head + end + body[:15])


def body_reset(connection, call):
    body_cut(connection, call)
    reset(connection)


def body_stalled(connection, call):
    body_cut(connection, call)
    stall(connection)


def body_dripping(connection, call):
    """A byte every 50 ms, for ever: there is always a sign of life, and never an answer."""
    if call == "chat_stream":
        connection.sendall(_CLOSE_DELIMITED + b"data: ")
    else:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)


def sends_json(connection, call, text):
    """Text as a whole body of JSON; of a stream, as its first event."""
    data = text if isinstance(text, bytes) else text.encode()
    if call == "chat_stream":
        connection.sendall(chunked_head() + chunk(b"data: " + data + b"\n\n") + b"0\r\n\r\n")
    else:
        connection.sendall(http(data))


def _with(call, field, text):
    """The right JSON, and one more field in it."""
    return json.dumps(ANSWERS[call])[:-1] + f', "{field}": {text}}}'


def json_truncated(connection, call):
    sends_json(connection, call, json.dumps(ANSWERS[call])[:-5])


def html_for_an_answer(connection, call):
    connection.sendall(http(PAGE.encode(), "200 OK", "text/html; charset=utf-8"))


def body_empty(connection, call):
    connection.sendall(http(b""))


def status_204(connection, call):
    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


def json_null(connection, call):
    sends_json(connection, call, "null")


def json_list(connection, call):
    sends_json(connection, call, "[]")


def json_empty_object(connection, call):
    sends_json(connection, call, "{}")


def error_under_200(connection, call):
    connection.sendall(http(json.dumps({"error": WORDS}).encode()))


def gateway_in_html(connection, call):
    page = "<html><head><title>502</title></head><body><h1>502 Bad Gateway</h1>" + "<p>nginx</p>" * 1800
    connection.sendall(http(page.encode(), "502 Bad Gateway", "text/html"))


def invalid_utf8(connection, call):
    sends_json(connection, call, json.dumps(ANSWERS[call]).encode()[:-1] + b', "x": "\xff\xfe"}')


def json_nan(connection, call):
    sends_json(connection, call, _with(call, "x", "NaN"))


def json_infinity(connection, call):
    sends_json(connection, call, _with(call, "x", "[-Infinity, Infinity]"))


def json_lone_surrogate(connection, call):
    sends_json(connection, call, _with(call, "x", r'"\ud800"'))


def json_integer_of_5000_digits(connection, call):
    sends_json(connection, call, _with(call, "x", "9" * 5000))


def json_too_deep(connection, call):
    sends_json(connection, call, _with(call, "x", "[" * 100_000 + "]" * 100_000))


@functools.cache
def bomb():
    """200 MiB of spaces in 204 KB."""
    squeeze = zlib.compressobj(9, wbits=31)
    return b"".join([squeeze.compress(b" " * 2**20) for _ in range(200)]) + squeeze.flush()


def _sends_compressed(connection, call, body, coding):
    content_type = "text/event-stream" if call == "chat_stream" else "application/json"
    connection.sendall(http(body, "200 OK", content_type, f"content-encoding: {coding}"))


def gzip_bomb(connection, call):
    _sends_compressed(connection, call, bomb(), "gzip")


def gzip_bomb_in_gzip(connection, call):
    _sends_compressed(connection, call, gzip.compress(bomb(), 9), "gzip, gzip")


def error_of_100_mib(connection, call, status="400 Bad Request"):
    """Says what is wrong, and goes on; how many bytes went out."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    connection.sendall(
        f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {100 * 2**20}\r\n\r\nno capacity ".encode()
    )
    return flood(connection, b"x" * 65536, 100 * 2**20)


# --- C. statuses ---


def says(connection, call, status, *headers, body=WORDS):
    """An error status with the server's words."""
    connection.sendall(http(json.dumps(body).encode(), status, "application/json", *headers))


def too_many(connection, call, after, date=None):
    dates = [f"date: {date}"] if date else []
    says(connection, call, "429 Too Many Requests", f"retry-after: {after}", *dates)


def conflict(connection, call, code):
    says(connection, call, "409 Conflict", body=WORDS | {"code": code})


# --- D. redirects ---


def redirect(connection, call, status, location):
    connection.sendall(http(b"", f"{status} Elsewhere", "text/plain", f"location: {location}"))


# --- E. streams ---


def _begin(connection):
    connection.sendall(chunked_head() + b"".join(map(chunk, EVENTS[:2])))


def stream_without_done(connection, call):
    _begin(connection)
    connection.sendall(b"0\r\n\r\n")


def stream_cut_inside_an_event(connection, call):
    connection.sendall(_CLOSE_DELIMITED + b"".join(EVENTS[:2]) + EVENTS[3][:9])


def stream_cut_between_events(connection, call):
    connection.sendall(_CLOSE_DELIMITED + b"".join(EVENTS[:2]))


def stream_without_a_last_chunk(connection, call):
    _begin(connection)


def stream_reset(connection, call):
    _begin(connection)
    reset(connection)


def stream_reset_before_its_first_event(connection, call):
    connection.sendall(chunked_head() + chunk(b": hello\n\n"))
    reset(connection)


def stream_stalled(connection, call):
    _begin(connection)
    stall(connection)


def stream_of_comments(connection, call):
    """There is always a sign of life, and never an answer."""
    _begin(connection)
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(chunk(b": still here\n\n"))
            time.sleep(0.02)


def stream_goes_on_with(connection, call, *pieces):
    """Two right events, then these bytes, then a clean end."""
    _begin(connection)
    connection.sendall(b"".join(map(chunk, pieces)) + b"0\r\n\r\n")


def stream_of(connection, call, *pieces):
    """These bytes, and a clean end."""
    connection.sendall(chunked_head() + b"".join(map(chunk, pieces)) + b"0\r\n\r\n")


def event_truncated(connection, call):
    stream_goes_on_with(connection, call, b'data: {"id": "1", "choi\n\n')


def error_object_in_data(connection, call):
    stream_goes_on_with(connection, call, f"data: {json.dumps({'error': WORDS})}\n\n".encode())


def error_event_of_json(connection, call):
    stream_goes_on_with(connection, call, f"event: error\ndata: {json.dumps(WORDS)}\n\n".encode())


def error_event_of_words(connection, call):
    stream_goes_on_with(connection, call, b"event: error\ndata: no capacity\n\n")


def error_object_like_vllm(connection, call):
    stream_goes_on_with(connection, call, f"data: {json.dumps(WORDS)}\n\n".encode())


def almost_done(connection, call):
    stream_goes_on_with(connection, call, *EVENTS[2:-1], b"data: [DONE]x\n\n")


def json_for_a_stream(connection, call):
    connection.sendall(http(json.dumps(ANSWER).encode()))


def stream_empty(connection, call):
    connection.sendall(chunked_head() + b"0\r\n\r\n")


def line_of_100_mib(connection, call):
    """Never ends its line; how many bytes went out."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    connection.sendall(_CLOSE_DELIMITED + b"".join(EVENTS[:2]) + b"data: ")
    return flood(connection, b"x" * 65536, 100 * 2**20)


def _numbered(number, event):
    return f"id: {number}\n".encode() + event


def chunk_after_the_finish(connection, call):
    stream_goes_on_with(connection, call, event({"content": "bert"}, "stop"), event({"content": "bert"}), EVENTS[-1])


def event_twice(connection, call):
    sent = [_numbered(1, EVENTS[0]), *[_numbered(2, EVENTS[1])] * 2, *EVENTS[-2:]]
    stream_of(connection, call, *sent)


def events_out_of_order(connection, call):
    sent = [_numbered(1, EVENTS[0]), _numbered(3, EVENTS[1]), _numbered(2, EVENTS[3]), *EVENTS[-2:]]
    stream_of(connection, call, *sent)


def chunk_twice(connection, call):
    """The number is in the chunk itself."""
    choices = [{"index": 0, "delta": {"content": PART}}]
    chunks = [{"id": "1", "model": "m", "index": number, "choices": choices} for number in (0, 1, 1)]
    chunks[0]["choices"], chunks[2]["choices"] = [{"index": 0, "delta": {"content": ""}}], choices
    stream_of(connection, call, *(f"data: {json.dumps(piece)}\n\n".encode() for piece in chunks), *EVENTS[-2:])


# --- servers of another kind ---


class Stale:
    """Answers the first request of a connection, and gives the connection up with the second one in its hands."""

    def __init__(self, *last):
        self.last = last
        self._seen = set()

    def __call__(self, connection, call):
        if connection in self._seen:
            for step in self.last:
                step(connection, call)
            raise ConnectionAbortedError
        self._seen.add(connection)
        right(connection, call)


class SecureServer(RawServer):
    """The same behind TLS. Its certificate is in the file of that name here."""

    def __init__(self, certificate, *scripts):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(Path(__file__).with_name(certificate))
        super().__init__(*scripts)
        self.url = self.url.replace("http:", "https:")

    def _serve(self, connection):
        with contextlib.suppress(OSError):
            secured = self._context.wrap_socket(connection, server_side=True)
            self._open.add(secured)
            super()._serve(secured)


@contextlib.contextmanager
def full_queue():
    """An address where connections are neither accepted nor refused; gives host and port."""
    with contextlib.ExitStack() as closing:
        listener = closing.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):
            waiting = closing.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield f"{address[0]}:{address[1]}"
