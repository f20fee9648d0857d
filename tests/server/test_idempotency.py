"""The same request again, while it runs and afterwards: the engine counts how often it worked."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest

from mistral_client.server.idempotency import Idempotency
from tests.server.faults.test_load_rows import serve  # noqa: F401, a fixture
from tests.server.test_app import EchoEngine, eventually, say


@pytest.fixture
def engine():
    return EchoEngine(pause=0.005)


@pytest.fixture
def server(serve, engine):  # noqa: F811
    return serve(engine)


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield http


def post(http, text="one two three", key="k1", **more):
    body = {"model": "echo", "messages": say(text), **more}
    return http.post("/v1/chat/completions", json=body, headers={"idempotency-key": key})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_row_48_a_finished_answer_is_told_again(http, engine, stream):
    first = post(http, stream=stream)
    again = post(http, stream=stream)
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert again.headers["mistral-correlation-id"] != first.headers["mistral-correlation-id"]
    assert len(engine.prompts) == 1
    post(http, key="k2", stream=stream)
    assert len(engine.prompts) == 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_row_48_requests_at_the_same_time_share_one_generation(http, engine, stream):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(http, "word " * 60, stream=stream), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(engine.prompts) == 1


def test_another_body_under_the_same_key_is_refused(http, engine):
    post(http)
    answer = post(http, "something else")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert len(engine.prompts) == 1


def test_who_joined_stays_when_the_first_leaves(server, http, engine):
    first = server.call("word " * 100, key="k1", stream=True)
    eventually(lambda: engine.running == 1)
    answers = []
    joined = threading.Thread(target=lambda: answers.append(_same_call(server)))
    joined.start()
    middleware = _middleware(server)
    eventually(lambda: [recording.listeners for recording in middleware._running.values()] == [2])
    first.close()
    joined.join(20)
    assert answers[0].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert answers[0].count(b"word ") == 100
    assert len(engine.prompts) == 1
    eventually(lambda: not middleware._running)


def _same_call(server):
    received = b""
    with server.call("word " * 100, key="k1", stream=True) as connection:
        connection.settimeout(20)
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += connection.recv(65536)
    return received


def _middleware(server):
    layer = server.app.middleware_stack
    while not isinstance(layer, Idempotency):
        layer = layer.__dict__.get("app") or layer.__dict__["_app"]
    return layer


def test_after_the_last_has_left_it_runs_anew(server, http, engine):
    connection = server.call("word " * 100, key="k1", stream=True)
    eventually(lambda: engine.running == 1)
    connection.close()
    eventually(server.idle)
    assert post(http, "word " * 100, stream=True).text.endswith("data: [DONE]\n\n")
    assert len(engine.prompts) == 2


@pytest.mark.parametrize(
    ("text", "stream", "status"), [("crash", False, 500), ("bug", False, 500), ("one crash", True, 200)]
)
def test_a_failure_is_not_told_again(http, engine, text, stream, status):
    for attempts in (1, 2, 3):
        answer = post(http, text, stream=stream)
        assert answer.status_code == status
        assert "[DONE]" not in answer.text
        assert len(engine.prompts) == attempts


def test_a_stream_that_was_torn_is_not_told_again(http, engine):
    for attempts in (1, 2, 3):
        with pytest.raises(httpx.RemoteProtocolError):
            post(http, "one bug", stream=True)
        assert len(engine.prompts) == attempts


def test_a_finished_answer_is_kept_in_one_piece(server, http):
    """Its many events would take several times their size, which is what is counted."""
    post(http, "word " * 60, stream=True)
    middleware = _middleware(server)
    eventually(lambda: middleware._finished)
    ((_, recording),) = middleware._finished.values()
    assert len(recording._messages) == 2
    assert middleware._kept == recording.size == len(recording._messages[1]["body"])


def test_a_refusal_of_the_request_may_be_told_again(http):
    assert [post(http, temperature=9).status_code for _ in range(2)] == [422, 422]


def test_the_store_is_bounded_in_number_size_and_time():
    now, calls = 0.0, []

    async def app(scope, receive, send):
        calls.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 10})

    middleware = Idempotency(app, answers=3, size=35, seconds=60, clock=lambda: now)

    async def ask(key, client=""):
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": [(b"idempotency-key", key)],
            "state": {"client_key": client},
        }
        unread = [{"type": "http.request", "body": key}]

        async def receive():
            if not unread:
                await anyio.sleep_forever()
            return unread.pop()

        sent = []

        async def send(message):
            sent.append(message)

        await middleware(scope, receive, send)
        assert b"".join(message.get("body", b"") for message in sent) == b"x" * 10

    async def main():
        nonlocal now
        for key in (b"a", b"b", b"c", b"a", b"b", b"c"):
            await ask(key)
        assert calls == [b"a", b"b", b"c"]
        await ask(b"d")
        assert (len(middleware._finished), middleware._kept) == (3, 30)
        await ask(b"b")
        assert calls[-1] == b"d"
        await ask(b"a")
        assert calls[-1] == b"a", "the oldest had to go"
        count = len(calls)
        await ask(b"a", "another client")
        assert len(calls) == count + 1
        now = 61.0
        await ask(b"a")
        assert len(calls) == count + 2
        middleware._size = 5
        await ask(b"e")
        assert (len(middleware._finished), middleware._kept) == (0, 0)

    anyio.run(main)
    calls.clear()
