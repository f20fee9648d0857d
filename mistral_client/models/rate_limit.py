"""What a server tells of its rate limits, in the headers of its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Self

_NUMBER = re.compile(r"\d{1,15}")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What a key may use in a minute, and what was left of it when the server answered. None: it does not say.

    limit_requests, remaining_requests: requests. limit_tokens, remaining_tokens: tokens.
    query_cost: tokens that this call counted for.
    reset: seconds until the tokens are there again; servers of 2024 say it.
    """

    limit_requests: int | None = None
    remaining_requests: int | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    query_cost: int | None = None
    reset: int | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self | None:
        """What these headers say, such as those of a `RateLimitError`; None where they say nothing."""
        found = cls(*(_number(headers, names) for names in _NAMES))
        return found if any(value is not None for value in astuple(found)) else None


class Unread:
    """Headers that nobody has asked for a rate limit yet: most never are. Copied and pickled as what they say."""

    __slots__ = ("headers",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def __reduce__(self) -> tuple[object, ...]:
        said = {name: self.headers[name] for names in _NAMES for name in names if name in self.headers}
        return RateLimit.of, (said,)


def _number(headers: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = headers.get(name, "").strip()
        if _NUMBER.fullmatch(value):
            return int(value)
    return None


_NAMES = (
    ("x-ratelimit-limit-req-minute",),
    ("x-ratelimit-remaining-req-minute",),
    ("x-ratelimit-limit-tokens-minute", "ratelimitbysize-limit", "x-ratelimitbysize-limit-minute"),
    ("x-ratelimit-remaining-tokens-minute", "ratelimitbysize-remaining", "x-ratelimitbysize-remaining-minute"),
    ("x-ratelimit-tokens-query-cost", "ratelimitbysize-query-cost"),
    ("ratelimitbysize-reset",),
)
"""For each field the headers that say it, today's name first."""
