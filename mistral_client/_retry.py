"""When to try again, as arithmetic: no clock, no sleep, no I/O.

Backoff with full jitter, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from .exceptions import MistralConnectionException, MistralException

_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")
_TOO_EARLY = 425


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """max_retries: requests after the first.
    first, longest: seconds that the first wait, and any wait, may last. factor: from one wait to the next.
    patience: a server that asks for more seconds than this gets no retry; its wish is on the error.
    within: seconds since the call began, after which nothing is tried again.
    connections: whether a failure without an answer is tried again.
    status_codes: of errors that are tried again; None for those that may pass.
    """

    max_retries: int = 2
    first: float = 0.5
    longest: float = 8.0
    patience: float = 60.0
    factor: float = 2.0
    within: float = math.inf
    connections: bool = True
    status_codes: frozenset[int] | None = None

    def delay(self, attempt: int, error: MistralException, left: float, random: float) -> float | None:
        """Seconds to wait before the next request, or None: give up.

        attempt: how many retries there were already. left: seconds until the whole call must be over.
        random: evenly from 0 to 1.
        """
        # What is too early twice will be too early again, https://www.rfc-editor.org/rfc/rfc8470#section-5.2
        retries = min(self.max_retries, 1) if error.http_status == _TOO_EARLY else self.max_retries
        unanswered = isinstance(error, MistralConnectionException)
        passing = error.retryable if unanswered or self.status_codes is None else error.http_status in self.status_codes
        if attempt >= retries or not passing or (unanswered and not self.connections):
            return None
        wish = error.retry_after or 0.0
        if wish > self.patience:
            return None
        # Jitter beside a wish too: all who were turned away together would otherwise come back together.
        delay = wish + min(self.first * self.factor ** min(attempt, 64), self.longest) * random
        return delay if delay < left else None


class RetryBudget:
    """Keeps a client from retrying against a server that is down: a retry takes a token, a success earns one.

    first: tokens of a client that has had no answer yet. most: tokens that can be in hand.
    """

    def __init__(self, first: int = 4, most: int = 48) -> None:
        # Appending and popping are atomic: no lock that a fork could leave held.
        self._tokens = deque([None] * first, most)

    def earn(self) -> None:
        """A call came to its answer."""
        self._tokens.append(None)

    def spend(self) -> bool:
        """Take a token; whether there was one."""
        try:
            self._tokens.pop()
        except IndexError:
            return False
        return True


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3 (or `retry-after-ms`).

    A date counts against the response's own Date, so that a wrong clock here does no harm. None for what says nothing
    of use: zero, the past, nonsense.
    """
    milliseconds = headers.get("retry-after-ms", "")
    if _SECONDS.fullmatch(milliseconds):
        return float(milliseconds) / 1000 or None
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value) or None
    try:
        until, since = (parsedate_to_datetime(date) for date in (value, headers.get("date", "")))
        seconds = until.timestamp() - since.timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return seconds if seconds > 0 else None
