"""What goes wrong when a test asks for it, and what clients make of it."""

from __future__ import annotations

import httpx
import pytest

from mistral_client import (
    AuthenticationError,
    InvalidRequestError,
    MistralConnectionException,
    ProtocolError,
    RateLimitError,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
    StreamTimeout,
)
from mistral_client.testing.answer import Answer, Break, Event
from mistral_client.testing.faults import steps

from ..conftest import HELLO

ASK = {"model": "m", "messages": HELLO}


@pytest.fixture
def client(make_client, mistral_server):
    return make_client(endpoint=mistral_server.url, max_retries=0)


@pytest.mark.parametrize(
    ("fault", "streamed", "whole"),
    [
        ("cut_after", StreamInterrupted, MistralConnectionException),
        ("reset_after", StreamInterrupted, MistralConnectionException),
        ("malformed_after", ProtocolError, ProtocolError),
        ("error_after", ServerError, ServerError),
    ],
)
@pytest.mark.parametrize("tokens", [0, 2, 3, 99])
def test_an_answer_breaks_once(client, mistral_server, fault, streamed, whole, tokens):
    mistral_server.reply("one two three", **{fault: tokens})
    with pytest.raises(streamed) as caught:
        list(client.chat_stream(**ASK))
    assert caught.value.text == "".join(["one", " two", " three"][:tokens])
    assert caught.value.finish_reason is None
    with pytest.raises(whole):
        client.chat(**ASK)


def test_a_reset_is_one(mistral_server):
    mistral_server.reply("one two", reset_after=1)
    with (
        httpx.Client(trust_env=False) as client,
        pytest.raises(httpx.ReadError) as caught,
        client.stream("POST", mistral_server.url + "/v1/chat/completions", json={**ASK, "stream": True}) as response,
    ):
        list(response.iter_bytes())
    assert "reset" in str(caught.value).lower()


def test_a_stream_that_broke_before_its_first_token_is_retried(make_client, mistral_server):
    mistral_server.reply("lost", cut_after=0)
    mistral_server.fail("reset")
    mistral_server.reply("found")
    client = make_client(endpoint=mistral_server.url)
    assert "".join(chunk.choices[0].delta.content for chunk in client.chat_stream(**ASK)) == "found"
    assert [each.status for each in mistral_server.requests] == [200, None, 200]


def test_too_many_requests_pass(make_client, mistral_server):
    mistral_server.fail(429, retry_after=0.05, times=2)
    mistral_server.reply("Paris.")
    assert make_client(endpoint=mistral_server.url).chat(**ASK).choices[0].message.content == "Paris."
    first, second, third = mistral_server.assert_called(3)
    assert second.time - first.time >= 0.05
    assert third.time - second.time >= 0.05


@pytest.mark.parametrize(
    ("status", "kind", "told", "code"),
    [
        (400, InvalidRequestError, "Bad Request", None),
        (401, AuthenticationError, "Unauthorized", None),
        (429, RateLimitError, "Rate limit exceeded", "1300"),
        (500, ServerError, "Service unavailable.", "3000"),
        (503, ServerError, "Internal server error", "1100"),
        (529, ServerError, "Error", None),
    ],
)
def test_a_status_has_mistrals_words(client, mistral_server, status, kind, told, code):
    mistral_server.fail(status)
    for call in (client.list_models, lambda: client.chat(**ASK), lambda: list(client.chat_stream(**ASK))):
        with pytest.raises(kind) as caught:
            call()
        assert (caught.value.http_status, caught.value.message, caught.value.code) == (status, told, code)
        assert caught.value.retry_after is None
        assert caught.value.request_id


def test_or_words_of_the_test(client, mistral_server):
    mistral_server.fail(429, retry_after=7, message="no room", type="service_tier_capacity_exceeded", code="3505")
    with pytest.raises(RateLimitError, match="no room") as caught:
        client.chat(**ASK)
    assert (caught.value.retry_after, caught.value.code) == (7, "3505")
    assert caught.value.type == "service_tier_capacity_exceeded"


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_no_answer_at_all(client, mistral_server, how):
    mistral_server.fail(how)
    with pytest.raises(MistralConnectionException):
        client.list_models()
    assert mistral_server.last.status is None
    assert "-> no answer" in mistral_server.log()


@pytest.mark.parametrize(("status", "kind"), [(200, ProtocolError), (502, ServerError)])
def test_a_page_in_place_of_json(client, mistral_server, status, kind):
    mistral_server.fail(status, html="<h1>Log in</h1>")
    for call in (lambda: client.chat(**ASK), lambda: list(client.chat_stream(**ASK))):
        with pytest.raises(kind, match="Log in"):
            call()


def test_done_is_missing(client, mistral_server):
    mistral_server.reply("one", done=False)
    with httpx.Client(trust_env=False) as raw:
        sent = raw.post(mistral_server.url + "/v1/chat/completions", json={**ASK, "stream": True}).text
    assert '"finish_reason":"stop"' in sent
    assert "[DONE]" not in sent
    assert [chunk.choices[0].delta.content for chunk in client.chat_stream(**ASK)] == ["", "one", ""]


def test_a_slow_server(make_client, mistral_server):
    mistral_server.reply("one two", delay=60)
    mistral_server.reply("one two", pace=60, when="pace")
    mistral_server.fail(503, delay=60, when="fail")
    client = make_client(endpoint=mistral_server.url, timeout=0.2, max_retries=0)
    with pytest.raises(RequestTimeout):
        client.chat(**ASK)
    with pytest.raises(StreamTimeout) as caught:
        list(client.chat_stream(**ASK))
    assert (caught.value.text, caught.value.retryable) == ("", True)
    with pytest.raises(StreamTimeout) as caught:
        list(client.chat_stream(model="m", messages=[{"role": "user", "content": "pace"}], timeout=1.0))
    assert (caught.value.text, caught.value.retryable) == ("one", False)
    with pytest.raises(RequestTimeout):
        client.chat(model="m", messages=[{"role": "user", "content": "fail"}])


def chunks(*contents, reason="stop"):
    for content in contents:
        yield Event({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]})
    yield Event({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": reason}]})
    yield Event("[DONE]")


def test_seconds_stand_before_tokens():
    todo = [*steps(Answer(chunks("", "a", "b")), {"delay": 1, "pace": 2})]
    assert [step if isinstance(step, float) else "sent" for step in todo] == [
        "sent",  # the head
        "sent",  # the role
        1.0,
        "sent",
        2.0,
        "sent",
        2.0,
        "sent",
        "sent",  # [DONE]
    ]
    assert [step for step in steps(Answer(b"{}"), {"delay": 1, "pace": 2}) if isinstance(step, float)] == [1.0]
    assert [*steps(Break.reset, {"delay": 1})] == [1.0, Break.reset]


def test_events_of_other_servers_are_no_tokens():
    """They go on as they are."""
    others = [
        Event({"choices": 1}),
        Event({"choices": [1, {"delta": None}, {}]}),
        Event("text"),
        Event({}),
        Event("[DONE]"),
    ]
    _, *sent = steps(Answer(event for event in others), {"delay": 1, "pace": 1})
    assert sent == [event.encode() for event in others]
    assert [*steps(Answer(event for event in others), {"cut_after": 0})][1:] == [*sent[:-1], Break.cut]


def test_a_stream_is_closed_when_it_is_left():
    closed = []

    def body():
        try:
            yield from chunks("a", "b")
        finally:
            closed.append(True)

    todo = steps(Answer(body()), {})
    next(todo)
    next(todo)
    todo.close()
    assert closed == [True]
    assert [*steps(Answer(body()), {"cut_after": 1})][-1] is Break.cut
    assert closed == [True, True]
