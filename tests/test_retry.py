from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_client import (
    LocalModelError,
    MistralAPIStatusException,
    MistralConnectionException,
    RateLimitError,
    ServerError,
)
from mistral_client._retry import RetryBudget, RetryPolicy, retry_after

BUSY = ServerError("busy", 503)
INF = float("inf")
DATE = {"date": "Tue, 02 Jan 2024 10:00:00 GMT"}


@given(st.integers(0, 5000), st.floats(0, 1))
def test_backoff_doubles_up_to_a_limit_and_is_jittered_throughout(attempt, random):
    policy = RetryPolicy(max_retries=5001, first=0.5, longest=8)
    assert policy.delay(attempt, BUSY, INF, random) == random * min(0.5 * 2 ** min(attempt, 9), 8)


def test_retries_are_counted():
    policy = RetryPolicy(max_retries=2)
    assert [policy.delay(attempt, BUSY, INF, 1) is None for attempt in range(4)] == [False, False, True, True]
    assert RetryPolicy(max_retries=0).delay(0, BUSY, INF, 1) is None


def test_what_cannot_pass_is_not_retried():
    assert RetryPolicy().delay(0, LocalModelError("no disk"), INF, 1) is None
    assert RetryPolicy().delay(0, MistralConnectionException("refused"), INF, 1) is not None


def test_the_servers_wish_comes_first_with_jitter():
    error = RateLimitError("slow down", 429, retry_after=7.0)
    assert RetryPolicy().delay(0, error, INF, 0) == 7
    assert RetryPolicy().delay(0, error, INF, 1) == 7.5


def test_a_wish_beyond_patience_fails_at_once():
    assert RetryPolicy().delay(0, RateLimitError("tomorrow", 429, retry_after=60.1), INF, 0) is None
    assert RetryPolicy().delay(0, RateLimitError("soon", 429, retry_after=60.0), INF, 0) == 60


def test_a_wait_that_outlasts_the_call_fails_at_once():
    assert RetryPolicy().delay(0, RateLimitError("soon", 429, retry_after=7.0), 7.2, 1) is None
    assert RetryPolicy().delay(0, RateLimitError("soon", 429, retry_after=7.0), 7.6, 1) == 7.5
    assert RetryPolicy().delay(0, BUSY, 0.5, 1) is None
    assert RetryPolicy().delay(0, BUSY, 0.6, 1) == 0.5
    assert RetryPolicy().delay(0, BUSY, -1, 0) is None


def test_too_early_is_retried_once():
    early = MistralAPIStatusException("too early", 425)
    assert [RetryPolicy(5).delay(attempt, early, INF, 1) for attempt in range(2)] == [0.5, None]
    assert RetryPolicy(0).delay(0, early, INF, 1) is None


def test_a_budget_is_spent_and_earned():
    budget = RetryBudget(first=2, most=3)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(9):
        budget.earn()
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


def test_a_new_client_has_few_retries_and_a_proven_one_more():
    budget = RetryBudget()
    assert sum(budget.spend() for _ in range(99)) == 4
    [budget.earn() for _ in range(99)]
    assert sum(budget.spend() for _ in range(99)) == 48


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "1"}, 1),
        ({"retry-after": " 2 "}, 2),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "2000"}, 2),
        ({"retry-after": DATE["date"], **DATE}, None),
        ({"retry-after": "Tue, 02 Jan 2024 10:00:30 -0000", "date": "Tue, 02 Jan 2024 10:00:00 -0000"}, 30),
        ({"retry-after": "Tue, 02 Jan 2024 10:00:01 GMT", **DATE}, 1),
        ({"retry-after": "Tue, 02 Jan 2024 12:00:01 +0200", **DATE}, 1),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "999999999"}, 999999999),
        ({"retry-after-ms": "150"}, 0.15),
        ({"retry-after-ms": "150", "retry-after": "9"}, 0.15),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after-ms": "0"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Tue, 02 Jan 2024 10:00:30 GMT", **DATE}, 30),
        ({"retry-after": "Tue, 02 Jan 2024 09:00:00 GMT", **DATE}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", **DATE}, 251_698_111_199),
        ({"retry-after": "Tue, 02 Jan 2024 10:00:30 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359", **DATE}, 251_698_197_539),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers) == seconds


@given(st.text(), st.text())
def test_retry_after_never_raises(value, date):
    assert (retry_after({"retry-after": value, "retry-after-ms": value, "date": date}) or 1) > 0


def test_waits_that_grow_otherwise():
    policy = RetryPolicy(9, first=1, longest=20, factor=3)
    assert [policy.delay(attempt, BUSY, INF, 1) for attempt in range(4)] == [1, 3, 9, 20]


def test_failures_without_an_answer_can_be_left_alone():
    policy = RetryPolicy(connections=False)
    assert policy.delay(0, MistralConnectionException("reset"), INF, 1) is None
    assert policy.delay(0, BUSY, INF, 1) == 0.5


def test_status_codes_of_ones_own():
    policy = RetryPolicy(status_codes=frozenset({501}))
    assert policy.delay(0, BUSY, INF, 1) is None
    assert policy.delay(0, ServerError("no", 501), INF, 1) == 0.5, "even one that is for good"
    assert policy.delay(0, MistralConnectionException("reset"), INF, 1) == 0.5
    assert policy.delay(0, LocalModelError("no disk"), INF, 1) is None
