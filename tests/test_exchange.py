"""The life of a call as a list of steps: no clock, no socket, no event loop."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest

from mistral_client import (
    AuthenticationError,
    ChatCompletionResponse,
    HTTPValidationError,
    InvalidRequestError,
    MistralAPIException,
    MistralAPIStatusException,
    MistralConnectionException,
    MistralException,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    _calls,
)
from mistral_client._config import resolve, secret
from mistral_client._exchange import Effort, Wait, exchange, opens_stream
from mistral_client._retry import RetryBudget, RetryPolicy

from .conftest import HELLO
from .test_sse import CASES

ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1},
}
CONFIG = resolve(secret("sesame"), "http://host:1")
CHAT = _calls.chat(HELLO, "m", {})
STREAM = _calls.chat_stream(HELLO, "m", {})


@dataclass
class FakeResponse:
    status_code: int = 200
    content: bytes = json.dumps(ANSWER).encode()
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


def error(status, body=b"", **headers):
    return FakeResponse(status, body if isinstance(body, bytes) else json.dumps(body).encode(), headers)


class Clock:
    """Stands still but for what is waited, and for a second for each request."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run(call, outcomes, *, max_retries=2, random=lambda: 1.0, budget=None):
    """Drive an exchange; gives the steps it asked for and what it came to."""
    clock = Clock()
    steps, outcomes = [], iter(outcomes)
    flow = exchange(call, RetryPolicy(max_retries), budget or RetryBudget(), Effort(CONFIG, call, clock), random)
    step = next(flow)
    while True:
        steps.append(step)
        clock.now += step.seconds if isinstance(step, Wait) else 1.0
        try:
            step = flow.send(None if isinstance(step, Wait) else next(outcomes))
        except StopIteration as finished:
            return steps, finished.value
        except MistralException as raised:
            return steps, raised


def answer(response):
    """What this response comes to as the first one, or the error that it raises."""
    outcome = run(CHAT, [response])[1]
    if isinstance(outcome, MistralException):
        raise outcome
    return outcome


def test_the_first_answer_ends_it():
    steps, result = run(CHAT, [FakeResponse()])
    assert result == ChatCompletionResponse.model_validate(ANSWER)
    assert [(step.method, step.path) for step in steps] == [("POST", "/v1/chat/completions")]


def test_every_attempt_sends_the_same():
    steps, result = run(CHAT, [error(503), MistralConnectionException("reset"), FakeResponse()])
    first, wait, second, longer, third = steps
    assert (wait, longer) == (Wait(0.5), Wait(1.0))
    assert first == second == third
    assert first.headers["Idempotency-Key"]
    assert result.id == "1"


def test_a_call_may_bring_its_own_policy():
    """A request takes a second: the third wait would end 3 + 0.5 + 1 + 2 seconds after the call's beginning."""
    policy = RetryPolicy(9, within=6.5)
    steps, raised = run(replace(CHAT, max_retries=policy), [error(503)] * 9, max_retries=0)
    assert [step.seconds for step in steps if isinstance(step, Wait)] == [0.5, 1.0]
    assert raised.attempts == 3
    steps, _ = run(replace(CHAT, max_retries=replace(policy, within=6.6)), [error(503)] * 9, max_retries=0)
    assert [step.seconds for step in steps if isinstance(step, Wait)] == [0.5, 1.0, 2.0]


def test_two_calls_have_two_keys():
    values = iter([0.1, 0.2, 0.3, 0.4])
    keys = {run(CHAT, [FakeResponse()], random=lambda: next(values))[0][0].headers["Idempotency-Key"] for _ in range(2)}
    assert len(keys) == 2


def test_attempts_and_time_are_on_the_error():
    steps, raised = run(CHAT, [error(500, {"message": "no"})] * 3)
    assert len(steps) == 5
    assert (raised.attempts, raised.elapsed, raised.message, raised.host) == (3, 4.5, "no", "host:1")


def test_max_retries_of_one_call():
    patient = _calls.chat(HELLO, "m", {"max_retries": 3})
    assert len(run(patient, [error(503)] * 5, max_retries=0)[0]) == 7
    steps, raised = run(_calls.chat(HELLO, "m", {"max_retries": 0}), [error(503)])
    assert (len(steps), raised.attempts) == (1, 1)


def test_a_request_must_come_to_something():
    flow = exchange(CHAT, RetryPolicy(), RetryBudget(), Effort(CONFIG, CHAT, float), float)
    next(flow)
    with pytest.raises(TypeError, match=r"^a request comes to a response or an exception$"):
        flow.send(None)


@pytest.mark.parametrize(
    ("status", "kind", "retried"),
    [
        (301, ProtocolError, False),
        (307, ProtocolError, False),
        (400, InvalidRequestError, False),
        (401, AuthenticationError, False),
        (403, PermissionDeniedError, False),
        (404, NotFoundError, False),
        (408, MistralAPIStatusException, True),
        (409, MistralAPIStatusException, True),
        (413, InvalidRequestError, False),
        (422, HTTPValidationError, False),
        (425, MistralAPIStatusException, True),
        (429, RateLimitError, True),
        (500, ServerError, True),
        (501, ServerError, False),
        (502, ServerError, True),
        (503, ServerError, True),
        (504, ServerError, True),
        (505, ServerError, False),
        (520, ServerError, True),
        (529, ServerError, True),
    ],
)
def test_statuses(status, kind, retried):
    steps, raised = run(CHAT, [error(status)] * 3)
    assert type(raised) is kind
    assert raised.http_status == raised.status == status
    assert (len(steps) > 1) == retried == raised.retryable


@pytest.mark.parametrize(
    ("code", "retried"),
    [(None, True), ("lock_timeout", True), ("idempotency_key_in_use", True), ("already_exists", False), ("409", False)],
)
def test_a_conflict_is_retried_if_its_code_says_that_it_passes(code, retried):
    steps, raised = run(CHAT, [error(409, {"message": "conflict", "code": code})] * 3)
    assert (len(steps) > 1) == retried == raised.retryable


def test_what_is_too_early_twice_is_given_up():
    assert run(CHAT, [error(425)] * 3)[1].attempts == 2


def test_a_call_has_a_deadline():
    call = _calls.chat(HELLO, "m", {"deadline": 4.0, "max_retries": 9})
    steps, raised = run(call, [error(503)] * 9)
    # One second each, then half a second and a second: after 3.5 s there is no time for two seconds more.
    assert (raised.attempts, raised.elapsed) == (3, 4.5)
    assert {step.until for step in steps if not isinstance(step, Wait)} == {104.0}


def test_a_server_that_wants_more_time_than_there_is_fails_at_once():
    call = _calls.chat(HELLO, "m", {"deadline": 4.0})
    steps, raised = run(call, [error(429, **{"retry-after": "5"})])
    assert (len(steps), raised.retry_after) == (1, 5)


def test_retries_have_a_budget():
    budget = RetryBudget()
    requests = sum(len(run(CHAT, [error(503)] * 3, budget=budget)[0]) // 2 + 1 for _ in range(40))
    assert requests == 44
    run(CHAT, [FakeResponse()], budget=budget)
    assert run(CHAT, [error(503)] * 3, budget=budget)[1].attempts == 2, "a success earns a retry"


def test_a_retry_that_the_server_asks_for_is_free():
    budget = RetryBudget(first=0)
    assert run(CHAT, [error(503, **{"retry-after": "1"}), FakeResponse()], budget=budget)[1].id == "1"


WORDS = [
    ({"object": "error", "message": "m", "type": "t", "param": None, "code": "3230"}, "m", "t", "3230"),
    ({"object": "error", "message": "m", "type": "t", "code": None}, "m", "t", None),
    ({"detail": "Unauthorized"}, "Unauthorized", None, None),
    ({"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "not permitted", "input": 1}]},
     "x: not permitted", None, None),
    ({"detail": [{"loc": ["body", "a", 0], "msg": "p"}, {"msg": "q"}, "r"]}, "a.0: p; q; r", None, None),
    ({"message": "no Route matched", "request_id": "abc"}, "no Route matched", None, None),
    ({"object": "error", "message": {"detail": [{"loc": ["body", "y"], "msg": "bad"}]}, "type": "invalid_request_error"},
     "y: bad", "invalid_request_error", None),
    ({"error": {"message": "m", "type": "t", "code": 42}}, "m", "t", "42"),
    ({"error": "just words"}, "just words", None, None),
    ("just a string", "just a string", None, None),
    ([], "the server answered 418 and gave no reason", None, None),
    ({"code": 1.5, "message": 7}, "the server answered 418 and gave no reason", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message", "kind", "code"), WORDS)
def test_the_servers_own_words_are_found(body, message, kind, code):
    _, raised = run(CHAT, [error(418, body)])
    if body == "just a string":
        assert raised.message in {message, f'"{message}"'}
    elif body == [] or (isinstance(body, dict) and body.get("message") == 7):
        assert raised.message  # some text, the body itself or a sentence
    else:
        assert raised.message == message
    assert (raised.type, raised.code) == (kind, code)


def test_the_request_id_is_found():
    assert run(CHAT, [error(400, {"request_id": "in-body"})])[1].request_id == "in-body"
    for name in ("mistral-correlation-id", "x-request-id", "x-kong-request-id"):
        raised = run(CHAT, [error(400, b"", **{name: "in-header"})])[1]
        assert raised.request_id == "in-header"
        assert "in-header" in str(raised)


def test_a_page_of_html_is_shown_as_a_few_words():
    page = (
        b"<html><head><title>x</title><style>b{}</style></head><body><h1>502 Bad Gateway</h1>" + b"<p>nginx</p>" * 9999
    )
    raised = run(CHAT, [error(502, page)] * 3)[1]
    assert raised.message.startswith("502 Bad Gateway nginx nginx")
    assert len(raised.message) <= 200
    assert len(raised.body) == 10_000


def test_a_redirect_is_named_and_not_followed():
    assert "https://elsewhere.example/" in run(CHAT, [error(307, location="https://elsewhere.example/")])[1].message


def test_without_a_key_nothing_is_hidden():
    effort = Effort(resolve(None, "http://127.0.0.1:9"), CHAT, lambda: 7.0)
    error = effort.written_on(MistralException("no key here"))
    assert (error.message, error.host, error.attempts, error.elapsed) == ("no key here", "127.0.0.1:9", 0, 0)


@pytest.mark.parametrize("content", [b'{"a": NaN}', b'{"a": -Infinity}'])
def test_what_is_no_number_is_refused(content):
    with pytest.raises(ProtocolError, match="is no number in JSON"):
        answer(FakeResponse(content=json.dumps(ANSWER)[:-1].encode() + b"," + content[1:]))
    with_words = json.dumps(ANSWER).replace("hi", "NaN")
    assert answer(FakeResponse(content=with_words.encode())).choices[0].message.content == "NaN"


def test_a_key_that_is_given_with_the_call_is_hidden_as_well():
    call = _calls.chat(HELLO, "m", {"extra_headers": {"authorization": "Bearer of open-sesame", "x-team": "cheese"}})
    raised = run(call, [error(401, {"message": "open-sesame by cheese"})])[1]
    assert raised.message == "*** by cheese"


def test_an_authorization_that_is_empty_hides_nothing():
    for value in ("", "Bearer "):
        call = _calls.chat(HELLO, "m", {"extra_headers": {"Authorization": value}})
        assert run(call, [error(401, {"message": "who are you?"})])[1].message == "who are you?"


def test_the_idempotency_key_is_made_of_both_throws():
    throws = iter([0.5, 0.25, 1.0, 1.0])
    step = run(CHAT, [FakeResponse()], random=lambda: next(throws))[0][0]
    assert step.headers["Idempotency-Key"] == "10000000000000" + "08000000000000"


def test_what_is_not_as_promised_is_told_in_full():
    page = "caf\u00e9 ".encode("latin-1") * 99
    for call, media_type, wanted, got in (
        (CHAT, "text/html; charset=utf-8", "application/json", "text/html"),
        (STREAM, "", "text/event-stream", "no content type"),
    ):
        headers = {"content-type": media_type, "x-request-id": "abc"}
        raised = run(call, [FakeResponse(200, page, headers)])[1]
        shown = " ".join(["caf\ufffd"] * 99)[:200]
        said = f"expected {wanted}, got {got}: {shown!r} (does the endpoint point at the API?)"
        assert (raised.message, raised.http_status, raised.headers, raised.request_id) == (said, 200, headers, "abc")


@pytest.mark.parametrize("status", [199, 300])
def test_only_statuses_of_success_are_successes(status):
    assert run(CHAT, [FakeResponse(status)])[1].http_status == status


def test_an_answer_that_is_none_is_told_with_its_name():
    with pytest.raises(ProtocolError) as raised:
        answer(FakeResponse(content=b"{}"))
    assert raised.value.message.startswith("an answer that is none: id: Field required; ")


def test_a_key_that_the_server_sends_back_is_hidden():
    raised = run(CHAT, [error(401, {"message": "wrong key: sesame", "code": "sesame"}, echo="Bearer sesame")])[1]
    assert (raised.message, raised.code, raised.headers["echo"]) == ("wrong key: ***", "***", "Bearer ***")
    assert "sesame" not in f"{raised!r} {vars(raised)} {raised.args}"


def test_retry_after_is_on_the_error():
    steps, raised = run(CHAT, [error(429, b"", **{"retry-after": "86400"})])
    assert (len(steps), raised.retry_after) == (1, 86400)


def test_only_200_with_the_right_type_opens_a_stream():
    events = {"content-type": "text/event-stream; charset=utf-8"}
    assert opens_stream(STREAM, FakeResponse(headers=events))
    assert not opens_stream(CHAT, FakeResponse(headers=events))
    assert run(STREAM, [FakeResponse(headers=events, content=b"not looked at")])[1] is None


@pytest.mark.parametrize("case", [case for case in CASES if case["expected_error"]], ids=lambda case: case["name"])
def test_conformance_of_what_is_no_stream(case):
    response = FakeResponse(case["http_status"], b"", {"content-type": case["content_type"]})
    assert not opens_stream(STREAM, response)
    assert isinstance(run(STREAM, [response] * 3)[1], MistralAPIException)


@pytest.mark.parametrize("call", [CHAT, STREAM], ids=["whole", "streamed"])
@pytest.mark.parametrize("headers", [{"content-type": "text/html"}, {}], ids=["html", "no type"])
def test_a_success_of_the_wrong_type_shows_what_came(call, headers):
    steps, raised = run(call, [FakeResponse(content=b"<h1>Log in to the Wi-Fi</h1>", headers=headers)])
    assert type(raised) is ProtocolError
    assert "Log in to the Wi-Fi" in raised.message
    assert len(steps) == 1


def test_json_for_a_stream():
    assert type(run(STREAM, [FakeResponse()])[1]) is ProtocolError
    raised = run(STREAM, [FakeResponse(content=b'{"error":{"message":"overloaded","code":"1"}}')])[1]
    assert (raised.message, raised.code) == ("overloaded", "1")


def test_answers_of_json_kinds_are_read():
    for media_type in ("application/json; charset=utf-8", "application/vnd.api+json", "Application/JSON"):
        assert isinstance(answer(FakeResponse(headers={"content-type": media_type})), ChatCompletionResponse)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "EOF"),
        (b"null", "should be an object"),
        (b"[]", "should be an object"),
        (b"{}", "choices: Field required"),
        (json.dumps(ANSWER).encode()[:-5], "Invalid JSON"),
        (b'{"id": "\xff"}', "Invalid JSON"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_an_answer_that_is_none_is_named(content, named):
    with pytest.raises(ProtocolError) as raised:
        answer(FakeResponse(content=content))
    assert named in raised.value.message


def test_an_error_under_status_200():
    with pytest.raises(MistralAPIException, match="no capacity"):
        answer(FakeResponse(content=b'{"object":"error","message":"no capacity"}'))
