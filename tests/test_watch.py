"""What hooks are told, as steps of a call: no clock, no socket, no event loop."""

from __future__ import annotations

import dataclasses

import pytest

from mistral_client import (
    ArgumentError,
    ChatCompletionStreamResponse,
    Hooks,
    MistralConnectionException,
    MistralException,
    _calls,
)
from mistral_client._config import resolve, secret
from mistral_client._exchange import Effort, Wait, exchange
from mistral_client._retry import RetryBudget, RetryPolicy
from mistral_client._watch import Tell
from mistral_client.hooks import AttemptInfo, CallInfo, RequestInfo

from .conftest import HELLO
from .test_exchange import CHAT, STREAM, Clock, FakeResponse, error

KEY = "sesame-of-the-client"
HOOKS = (Hooks(), Hooks())
CONFIG = resolve(secret(KEY), "http://host:1/", hooks=HOOKS)


class Run:
    """An exchange whose requests take a second and whose hooks take a quarter of one."""

    def __init__(self, call, outcomes, config=CONFIG, change=None):
        self.clock = Clock()
        self.effort = Effort(config, call, self.clock)
        self.steps, self.result, outcomes = [], None, iter(outcomes)
        self.seconds = []
        flow = exchange(call, RetryPolicy(), RetryBudget(), self.effort, lambda: 1.0)
        sent = None
        while True:
            try:
                step = flow.send(sent)
            except StopIteration as finished:
                self.result = finished.value
                return
            except MistralException as raised:
                self.result = raised
                return
            self.steps.append(step)
            sent = None
            if isinstance(step, Tell):
                self.seconds.append((step.what if step.moment == "after_call" else step.what.call).seconds)
                self.clock.now += 0.25
                if change and step.moment == "before_request":
                    change(step.what.headers)
            elif isinstance(step, Wait):
                self.clock.now += step.seconds
            else:
                self.clock.now += 1
                sent = next(outcomes)

    def names(self):
        return [step.moment if isinstance(step, Tell) else type(step).__name__ for step in self.steps]

    def told(self, kind):
        return [step.what for step in self.steps if isinstance(step, Tell) and type(step.what) is kind]


def test_a_whole_answer_ends_the_call():
    run = Run(CHAT, [FakeResponse()])
    assert run.names() == ["before_request", "Request", "after_attempt", "after_call"]
    assert all(step.hooks == HOOKS for step in run.steps if isinstance(step, Tell))
    assert run.told(CallInfo) == [run.effort.watch.call]
    call = run.told(CallInfo)[0]
    assert call.answer is run.result
    assert (call.id, call.model, call.usage, call.finish_reasons) == ("1", "m", run.result.usage, ("stop",))
    assert run.seconds == [0, 1.25, 1.5]
    assert run.told(AttemptInfo)[0].seconds == 1.0


def test_an_answer_may_say_nothing_of_itself():
    run = Run(_calls.list_models({}), [FakeResponse(content=b'{"object": "list", "data": []}')])
    call = run.told(CallInfo)[0]
    assert (call.id, call.model, call.usage, call.finish_reasons) == (None, None, None, ())


def test_headers_of_the_client_are_sent_and_hidden():
    extra = {"X-Team": "cheese", "X-Token": "brie-and-wine"}
    config = dataclasses.replace(CONFIG, extra_headers=extra)
    run = Run(CHAT, [error(401, {"message": "no brie-and-wine"})], config)
    assert run.steps[1].headers.items() >= extra.items()
    assert run.told(RequestInfo)[0].headers.keys() & extra.keys() == {"X-Team"}
    assert run.result.message == "no ***"


def test_a_stream_goes_on_after_its_exchange():
    run = Run(STREAM, [FakeResponse(headers={"content-type": "text/event-stream"})])
    assert run.names() == ["before_request", "Request", "after_attempt"]
    assert run.result is None


def test_a_retry_is_told_of_before_its_wait():
    run = Run(CHAT, [error(503, {"message": "no"}), MistralConnectionException("reset"), FakeResponse()])
    attempt = ["before_request", "Request", "after_attempt"]
    assert run.names() == [*attempt, "Wait", *attempt, "Wait", *attempt, "after_call"]
    assert [(info.number, info.status, info.seconds) for info in run.told(AttemptInfo)] == [
        (1, 503, 1.0),
        (2, None, 1.0),
        (3, 200, 1.0),
    ]
    assert [info.number for info in run.told(RequestInfo)] == [1, 2, 3]
    first = run.told(AttemptInfo)[0].error
    assert (first.host, first.attempts, first.elapsed) == ("host:1", 1, 1.25)


def test_an_error_is_the_clients_to_tell_of():
    run = Run(CHAT, [error(401, {"message": f"no {KEY}"}, echo=f"of {KEY}")])
    assert run.names() == ["before_request", "Request", "after_attempt"]
    (attempt,) = run.told(AttemptInfo)
    assert attempt.error is run.result
    assert (attempt.error.message, attempt.headers) == ("no ***", {"echo": "of ***"})


def test_a_call_ends_once():
    watch = Run(CHAT, [error(401)]).effort.watch
    failure, later = ValueError(), KeyError()
    ended, again = watch.ended(failure), watch.ended(later)
    assert (ended.hooks, ended.moment, ended.what) == (HOOKS, "after_call", watch.call)
    assert again.hooks == ()
    watch.ended()
    assert watch.call.error is later, "what comes later does not make it a success"


def test_a_request_shows_no_secret_and_is_sent_with_all():
    extra = {"X-Api-Key": "one", "x-auth-TOKEN": "two", "X-Team": "cheese", "proxy-authorization": "three"}
    run = Run(_calls.chat(HELLO, "m", {"extra_headers": extra}), [FakeResponse()])
    (request,) = run.told(RequestInfo)
    assert (request.method, request.url) == ("POST", "http://host:1/v1/chat/completions")
    assert request.headers.keys() & extra.keys() == {"X-Team"}
    assert run.steps[1].headers.items() >= (extra | request.headers).items()


def test_what_hooks_set_goes_before_what_was_there():
    call = _calls.chat(HELLO, "m", {"extra_headers": {"authorization": "Bearer one", "X-Team": "cheese"}})
    run = Run(
        call, [error(401, {"message": "one and two"})], change=lambda h: h.update({"AUTHORIZATION": "Bearer two"})
    )
    sent = run.steps[1].headers
    assert [value for name, value in sent.items() if name.lower() == "authorization"] == ["Bearer two"]
    assert (sent["Authorization"], sent["X-Team"]) == ("Bearer two", "cheese")
    assert run.result.message == "*** and ***"


def test_what_hooks_change_is_changed_for_one_attempt():
    run = Run(CHAT, [error(503), FakeResponse()], change=dict.clear)
    requests = [step for step in run.steps if isinstance(step, _calls.Request)]
    assert [request.headers for request in requests] == [{}, {}]
    assert run.told(RequestInfo)[1].headers is not run.told(RequestInfo)[0].headers
    assert requests[0].content == CHAT.body


def test_what_cannot_be_sent_ends_the_call():
    run = Run(CHAT, [FakeResponse()], change=lambda headers: headers.update({"X-Team": "ché"}))
    assert run.names() == ["before_request"]
    assert isinstance(run.result, ArgumentError)
    assert str(run.result) == "before_request: 'X-Team' cannot be sent, only printable ASCII text can"


def part(choices, **more):
    whole = [{"delta": {}, **choice} for choice in choices]
    return ChatCompletionStreamResponse.model_validate({"id": "1", "model": "m", "choices": whole, **more})


def test_chunks_are_noted_as_they_are_taken():
    clock = Clock()
    watch = Effort(CONFIG, STREAM, clock).watch
    usage = {"prompt_tokens": 1, "total_tokens": 3, "completion_tokens": 2}
    given = [
        part([{"index": 1}, {"index": 0}]),
        part([{"index": 1, "finish_reason": "length"}]),
        part([{"index": 0, "finish_reason": "stop"}], usage=usage),
        part([]),
    ]
    fed = []

    def feed(data):
        fed.append(data)
        yield from given

    seen = []
    clock.now += 2
    for chunk in watch.chunks(feed)(b"data"):
        clock.now += 1
        call = watch.call
        seen.append((chunk, call.first_chunk, call.finish_reasons, call.usage and call.usage.model_dump()))
    assert fed == [b"data"]
    assert seen == [
        (given[0], 2, (), None),
        (given[1], 2, ("length",), None),
        (given[2], 2, ("stop", "length"), usage),
        (given[3], 2, ("stop", "length"), usage),
    ]
    assert (watch.call.id, watch.call.model) == ("1", "m")
    again = watch.chunks(feed)
    assert (watch.call.first_chunk, watch.call.finish_reasons, watch.call.usage) == (None, (), None), "a new attempt"
    clock.now += 1
    next(again(b""))
    assert watch.call.first_chunk == 7


def test_the_address_in_local_mode():
    effort = Effort(resolve(None, "local:a-model", hooks=HOOKS), CHAT, float)
    assert effort.watch.call.url == "local/v1/chat/completions"


@pytest.mark.parametrize("call", [CHAT, STREAM, _calls.list_models({})])
def test_a_call_knows_what_is_asked(call):
    known = Effort(CONFIG, call, float).watch.call
    assert (known.method, known.path, known.body, known.streamed) == (call.method, call.path, call.body, call.streamed)
    assert known.url == "http://host:1" + call.path
    assert bool(known.arguments) == bool(call.body)


def test_without_hooks_nothing_is_watched():
    assert Effort(dataclasses.replace(CONFIG, hooks=()), CHAT, float).watch is None
