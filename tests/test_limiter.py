"""The limiter: its arithmetic, the steps of an exchange, and both clients against a clock."""

from __future__ import annotations

import math
import pickle
import threading
import time
from itertools import accumulate

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_client import (
    ConfigurationError,
    MistralAsyncClient,
    MistralClient,
    MistralConnectionException,
    RateLimiter,
    RequestTimeout,
    ServerError,
    _calls,
    _limiter,
)
from mistral_client._calls import Call, Request
from mistral_client._exchange import Effort, Wait, exchange
from mistral_client._retry import RetryBudget, RetryPolicy
from mistral_client.models.models import ModelList

from .conftest import HELLO
from .test_exchange import ANSWER, CHAT, CONFIG, Clock, FakeResponse, error


def call_of(tokens):
    return Call("POST", "/", ModelList, b"x" * (3 * tokens))


def holds(places, requests, tokens):
    """No minute that ends with a place has too much in it; one that is too large by itself is alone."""
    for place in places:
        minute = [each for each in places if place.at - 60 < each.at <= place.at]
        if len(minute) > requests or (
            sum(each.tokens for each in minute) > tokens and sum(each.tokens > 0 for each in minute) > 1
        ):
            return False
    return True


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30)), max_size=40),
    st.none() | st.integers(1, 6),
    st.none() | st.integers(1, 25),
)
def test_no_minute_has_more(calls, requests, tokens):
    if requests is None and tokens is None:
        requests = 1
    limiter = RateLimiter(requests_per_minute=requests, tokens_per_minute=tokens)
    places = []
    for now, (_, size) in zip(accumulate(wait for wait, _ in calls), calls, strict=True):
        place = limiter.reserve(call_of(size), float(now))
        assert place.at >= now
        assert not places or place.at >= places[-1].at
        earliest = max(now, *(each.at for each in places)) if places else now
        places.append(place)
        limits = requests or math.inf, tokens or math.inf
        assert holds(places, *limits)
        if place.at > earliest:
            at, place.at = place.at, place.at - 1
            assert not holds(places, *limits), "it could have gone sooner"
            place.at = at


def test_requests_go_at_once_as_long_as_there_is_room():
    limiter = RateLimiter(requests_per_minute=3)
    assert [limiter.reserve(call_of(0), now).at for now in (0, 10, 20, 30, 31, 32, 100)] == [0, 10, 20, 60, 70, 80, 120]


def test_tokens_count_as_they_are_estimated_and_then_as_they_were():
    limiter = RateLimiter(tokens_per_minute=100)
    first = limiter.reserve(call_of(60), 0.0)
    limiter.settle(first, 20)
    second = limiter.reserve(call_of(60), 1.0)
    assert second.at == 1.0
    limiter.settle(second, 90)
    assert limiter.reserve(call_of(10), 2.0).at == 60.0
    assert limiter.reserve(call_of(10), 2.0).at == 61.0


def test_what_has_no_tokens_is_not_held_by_them():
    limiter = RateLimiter(tokens_per_minute=10)
    assert [limiter.reserve(call_of(size), 0.0).at for size in (500, 0, 5)] == [0, 0, 60]


def test_one_that_is_too_large_goes_alone():
    limiter = RateLimiter(tokens_per_minute=10)
    assert [limiter.reserve(call_of(size), 0.0).at for size in (5, 500, 5, 5, 500)] == [0, 60, 120, 120, 180]


def test_what_is_given_back_is_free_again():
    limiter = RateLimiter(requests_per_minute=2)
    places = [limiter.reserve(call_of(0), 0.0) for _ in range(7)]
    assert [place.at for place in places] == [0, 0, 60, 60, 120, 120, 180]
    for place in (places[4], places[6], places[5]):
        limiter.give_back(place)
    assert limiter.reserve(call_of(0), 1.0).at == 120
    assert limiter.reserve(call_of(0), 1.0).at == 120
    assert limiter.reserve(call_of(0), 1.0).at == 180


def test_it_forgets():
    limiter = RateLimiter(requests_per_minute=5)
    for now in range(1000):
        limiter.reserve(call_of(0), 20.0 * now)
    assert len(limiter._places) <= 4


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"requests_per_minute": 0},
        {"tokens_per_minute": -1},
        {"requests_per_minute": 1.5},
        {"tokens_per_minute": "60"},
        {"requests_per_minute": None, "tokens_per_minute": None},
    ],
)
def test_what_is_no_limit(limits):
    with pytest.raises(ConfigurationError, match="_per_minute"):
        RateLimiter(**limits)


def test_it_shows_its_limits_and_is_not_copied():
    limiter = RateLimiter(requests_per_minute=60, tokens_per_minute=1000)
    assert repr(limiter) == "RateLimiter(requests_per_minute=60, tokens_per_minute=1000)"
    assert repr(RateLimiter(tokens_per_minute=5)) == "RateLimiter(tokens_per_minute=5)"
    with pytest.raises(TypeError):
        pickle.dumps(limiter)


# --- the exchange ---


def steps_of(limiter, outcomes, clock, call=CHAT, max_retries=2):
    """The steps of an exchange, and what it came to."""
    effort = Effort(CONFIG, call, clock)
    flow = exchange(call, RetryPolicy(max_retries), RetryBudget(), effort, lambda: 0.5, limiter)
    outcomes, steps = iter(outcomes), []
    sent = None
    while True:
        try:
            step = flow.send(sent)
        except StopIteration as finished:
            return steps, finished.value
        except Exception as raised:  # noqa: BLE001
            return steps, raised
        steps.append(step if isinstance(step, Wait) else "request")
        clock.now += step.seconds if isinstance(step, Wait) else 1.0
        sent = None if isinstance(step, Wait) else next(outcomes)


def test_a_call_waits_for_its_place():
    limiter, clock = RateLimiter(requests_per_minute=1), Clock()
    assert steps_of(limiter, [FakeResponse()], clock)[0] == ["request"]
    assert steps_of(limiter, [FakeResponse()], clock)[0] == [Wait(59.0), "request"]


def test_a_retry_takes_a_place_too():
    limiter, clock = RateLimiter(requests_per_minute=2), Clock()
    outcomes = [error(503), error(503), FakeResponse()]
    steps, answer = steps_of(limiter, outcomes, clock)
    assert steps == ["request", Wait(0.25), "request", Wait(0.5), Wait(57.25), "request"]
    assert answer.id == "1"


def test_usage_settles_what_was_estimated():
    limiter, clock = RateLimiter(tokens_per_minute=70), Clock()
    assert 15 < limiter.reserve(CHAT, 0.0).tokens < 30
    for _ in range(20):
        assert steps_of(limiter, [FakeResponse()], clock)[0] == ["request"]
    assert {place.tokens for place in limiter._places} == {ANSWER["usage"]["total_tokens"]}


def test_a_refusal_takes_no_tokens_and_a_broken_connection_may_have():
    limiter, clock = RateLimiter(tokens_per_minute=1000), Clock()
    steps_of(limiter, [error(400)], clock)
    steps_of(limiter, [MistralConnectionException("reset")], clock, max_retries=0)
    assert [place.tokens > 0 for place in limiter._places] == [False, True]


def test_a_wait_past_the_deadline_is_an_error_at_once_and_takes_no_place():
    limiter, clock = RateLimiter(requests_per_minute=1), Clock()
    steps_of(limiter, [FakeResponse()], clock)
    hasty = _calls.chat(HELLO, "m", {"deadline": 5.0})
    steps, raised = steps_of(limiter, [], clock, hasty)
    assert steps == []
    assert isinstance(raised, RequestTimeout)
    assert "59.0 seconds" in str(raised)
    assert (raised.attempts, raised.host, raised.elapsed) == (0, "host:1", 0.0)
    assert len(limiter._places) == 1


def test_where_a_retry_has_no_time_for_its_place_the_failure_stands():
    limiter, clock = RateLimiter(requests_per_minute=1), Clock()
    steps, raised = steps_of(limiter, [error(503)], clock, _calls.chat(HELLO, "m", {"deadline": 5.0}))
    assert steps == ["request", Wait(0.25)]
    assert isinstance(raised, ServerError)
    assert raised.attempts == 1


def test_who_gives_up_while_it_waits_gives_its_place_back():
    limiter, clock = RateLimiter(requests_per_minute=1), Clock()
    steps_of(limiter, [FakeResponse()], clock)
    flow = exchange(CHAT, RetryPolicy(), RetryBudget(), Effort(CONFIG, CHAT, clock), float, limiter)
    assert isinstance(next(flow), Wait)
    assert len(limiter._places) == 2
    flow.close()
    assert len(limiter._places) == 1


def test_without_a_limiter_nothing_waits():
    flow = exchange(CHAT, RetryPolicy(), RetryBudget(), Effort(CONFIG, CHAT, float), float)
    assert isinstance(next(flow), Request)


# --- the clients ---


@pytest.fixture
def short_minute(monkeypatch):
    monkeypatch.setattr(_limiter, "MINUTE", 0.4)
    return 0.4


def test_clients_wait(make_client, http_server, short_minute):
    server = http_server(lambda request: (200, ANSWER))
    limiter = RateLimiter(requests_per_minute=2)
    one, other = (make_client("key", server.url, limiter=limiter) for _ in range(2))
    started = time.monotonic()
    for client in (one, other, one, other, one):
        client.chat(HELLO, "m")
    assert time.monotonic() - started >= 2 * short_minute
    assert len(server.requests) == 5


def test_a_client_with_other_options_has_the_same_limiter(http_server):
    server = http_server(lambda request: (200, ANSWER))
    with MistralClient("key", server.url, limiter=RateLimiter(requests_per_minute=1)) as client:
        client.chat(HELLO, "m")
        with pytest.raises(RequestTimeout, match="rate limiter"):
            client.with_options(deadline=5.0).chat(HELLO, "m")
    assert len(server.requests) == 1


def test_streams_settle_too(make_client, raw_server):
    from .test_clients import STREAM

    limiter = RateLimiter(tokens_per_minute=1000)
    list(make_client("key", raw_server(STREAM).url, limiter=limiter).chat_stream(HELLO, "m"))
    assert [place.tokens for place in limiter._places] == [6]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_limiter_for_threads_and_tasks(http_server, short_minute, backend):
    server = http_server(lambda request: (200, ANSWER))
    limiter = RateLimiter(requests_per_minute=4)
    started = time.monotonic()

    def ask():
        with MistralClient("key", server.url, limiter=limiter) as client:
            client.chat(HELLO, "m")

    async def main():
        async with MistralAsyncClient("key", server.url, limiter=limiter) as client, anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(client.chat, HELLO, "m")

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    anyio.run(main, backend=backend)
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 2 * short_minute
    assert len(server.requests) == 10


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_task_that_is_cancelled_gives_its_place_back(http_server, backend):
    limiter = RateLimiter(requests_per_minute=1)
    server = http_server(lambda request: (200, ANSWER))

    async def main():
        async with MistralAsyncClient("key", server.url, limiter=limiter) as client:
            await client.chat(HELLO, "m")
            with anyio.move_on_after(0.05) as scope:
                await client.chat(HELLO, "m")
            assert scope.cancelled_caught

    anyio.run(main, backend=backend)
    assert len(limiter._places) == 1
    assert len(server.requests) == 1
