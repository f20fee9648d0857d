"""examples/fastapi_app.py on a real socket: answers stream, who leaves ends the answer, failures have a status."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import socket
import threading

import httpx
import pytest

from mistral_client import StreamTimeout
from tests.conftest import chunk, chunked_head, http, reset
from tests.test_examples import ROOT

uvicorn = pytest.importorskip("uvicorn")


def event(text, finish_reason=None):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return chunk(b"data: %s\n\n" % json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode())


def example():
    spec = importlib.util.spec_from_file_location("fastapi_app", ROOT / "examples" / "fastapi_app.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


@pytest.fixture
def browser(monkeypatch):
    """A client of the example, which asks the server at a URL."""
    with contextlib.ExitStack() as closing:

        def visit(url):
            monkeypatch.setenv("MISTRAL_ENDPOINT", url)
            server = uvicorn.Server(uvicorn.Config(example().app, log_level="critical"))
            listener = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
            thread = threading.Thread(target=server.run, args=([listener],))
            thread.start()
            closing.callback(thread.join)
            closing.callback(setattr, server, "should_exit", True)
            where = f"http://127.0.0.1:{listener.getsockname()[1]}"
            return closing.enter_context(httpx.Client(base_url=where, params={"question": "Hello?"}, trust_env=False))

        yield visit


def test_an_answer_comes_as_it_is_written(raw_server, browser):
    seen = threading.Event()
    rest = [event(" there", "stop"), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]
    upstream = raw_server([chunked_head(), event("Hello"), lambda _: seen.wait(10), *rest])
    with browser(upstream.url).stream("GET", "/ask") as answer:
        pieces = answer.iter_text()
        assert next(pieces) == "Hello"
        seen.set()
        assert "".join(pieces) == " there"
    assert b'"content":"Hello?"' in upstream.requests[0]


@pytest.fixture
def hung_up():
    """Set when the application has closed its connection; as a step of a script it waits for that."""
    event = threading.Event()

    def wait(connection):
        connection.settimeout(10)
        if connection.recv(1) == b"":
            event.set()

    event.step = wait
    return event


def test_who_leaves_ends_the_answer(raw_server, browser, hung_up):
    upstream = raw_server([chunked_head(), event("Hello"), hung_up.step])
    with browser(upstream.url).stream("GET", "/ask") as answer:
        assert next(answer.iter_text()) == "Hello"
    assert hung_up.wait(10)


def test_who_leaves_before_the_answer_begins_ends_it_when_it_does(raw_server, browser, hung_up):
    left = threading.Event()
    upstream = raw_server([chunked_head(), lambda _: left.wait(10), event("Hello"), hung_up.step])
    visitor = browser(upstream.url)
    with pytest.raises(httpx.ReadTimeout):
        visitor.get("/ask", timeout=0.5)
    left.set()
    assert hung_up.wait(10)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([http(b'{"message": "full"}', "429 Too Many Requests", "application/json", "retry-after: 99")], 429),
        ([http(b'{"message": "no"}', "400 Bad Request")], 502),
        ([http(b"<html>", "200 OK", "text/html")], 502),
    ],
)
def test_what_fails_before_the_answer_begins_has_a_status(script, status, raw_server, browser):
    answer = browser(raw_server(script).url).get("/ask")
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert answer.headers.get("retry-after") == ("99" if status == 429 else None)


def test_who_is_too_slow_has_a_status():
    assert asyncio.run(example().failed(None, StreamTimeout("silence"))).status_code == 504


def test_what_fails_later_is_no_whole_answer(raw_server, browser):
    upstream = raw_server([chunked_head(), event("Hello"), 0.05, reset])
    with browser(upstream.url).stream("GET", "/ask") as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
