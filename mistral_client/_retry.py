"""When to try again, as arithmetic: no clock, no sleep, no I/O.

Backoff with full jitter, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from .exceptions import MistralException

_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """max_retries: requests after the first.
    first, longest: seconds that the first wait, and any wait, may last.
    patience: a server that asks for more seconds than this gets no retry; its wish is on the error.
    """

    max_retries: int = 2
    first: float = 0.5
    longest: float = 8.0
    patience: float = 60.0

    def delay(self, attempt: int, error: MistralException, random: float) -> float | None:
        """Seconds to wait before the next request, or None: give up.

        attempt: how many retries there were already. random: evenly from 0 to 1.
        """
        if attempt >= self.max_retries or not error.retryable:
            return None
        backoff = min(self.first * 2.0**attempt, self.longest) * random
        if error.retry_after is None:
            return backoff
        if error.retry_after > self.patience:
            return None
        # Jitter here too: all who were turned away together would otherwise come back together.
        return error.retry_after + backoff


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
        seconds = (until.astimezone(UTC) - since.astimezone(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None
