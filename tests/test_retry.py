from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_client import LocalModelError, MistralConnectionException, RateLimitError, ServerError
from mistral_client._retry import RetryPolicy, retry_after

BUSY = ServerError("busy", 503)
DATE = {"date": "Tue, 02 Jan 2024 10:00:00 GMT"}


@given(st.integers(0, 30), st.floats(0, 1))
def test_backoff_doubles_up_to_a_limit_and_is_jittered_throughout(attempt, random):
    policy = RetryPolicy(max_retries=31, first=0.5, longest=8)
    assert policy.delay(attempt, BUSY, random) == random * min(0.5 * 2**attempt, 8)


def test_retries_are_counted():
    policy = RetryPolicy(max_retries=2)
    assert [policy.delay(attempt, BUSY, 1) is None for attempt in range(4)] == [False, False, True, True]
    assert RetryPolicy(max_retries=0).delay(0, BUSY, 1) is None


def test_what_cannot_pass_is_not_retried():
    assert RetryPolicy().delay(0, LocalModelError("no disk"), 1) is None
    assert RetryPolicy().delay(0, MistralConnectionException("refused"), 1) is not None


def test_the_servers_wish_comes_first_with_jitter():
    error = RateLimitError("slow down", 429, retry_after=7.0)
    assert RetryPolicy().delay(0, error, 0) == 7
    assert RetryPolicy().delay(0, error, 1) == 7.5


def test_a_wish_beyond_patience_fails_at_once():
    assert RetryPolicy().delay(0, RateLimitError("tomorrow", 429, retry_after=86400.0), 0) is None
    assert RetryPolicy().delay(0, RateLimitError("soon", 429, retry_after=60.0), 0) == 60


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "1"}, 1),
        ({"retry-after": " 2 "}, 2),
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
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359", **DATE}, None),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers) == seconds


@given(st.text(), st.text())
def test_retry_after_never_raises(value, date):
    assert (retry_after({"retry-after": value, "retry-after-ms": value, "date": date}) or 1) > 0
