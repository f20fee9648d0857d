"""How many requests and tokens go out in a minute, as arithmetic: no clock, no sleep, no I/O."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from threading import Lock

from ._calls import AnswerT, Call
from .exceptions import ConfigurationError

MINUTE = 60.0

_BYTES_PER_TOKEN = 3
"""Of a request's body, which is JSON around a text: English has some four, and the answer is to come."""


class Place:
    """A request's place in a `RateLimiter`: when it may go, on the clock of its call, and what it counts for."""

    __slots__ = ("at", "requests", "tokens")

    def __init__(self, at: float, tokens: int) -> None:
        self.at = at
        self.requests = 1
        self.tokens = tokens


class RateLimiter:
    """Holds requests back so that no minute has more of them, and of their tokens, than this.

    Clients that are given the same one share it, synchronous and asynchronous, over all threads and event loops. First
    come, first served.

    requests_per_minute: requests, retries among them.
    tokens_per_minute: of prompts and answers. A request counts for a token for three bytes of its body until its answer
        says in `usage` what it took. One of more tokens than all of these goes alone.

    It counts for this process alone, and when requests go out. A server that counts otherwise may still refuse one,
    which is tried again like any.
    Raises `ConfigurationError` for what is no limit.
    """

    def __init__(self, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None) -> None:
        given: dict[str, object] = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute}
        for name, value in given.items():
            if value is not None and not (isinstance(value, int) and value > 0):
                raise ConfigurationError(f"{name}: {value!r} is not a whole number above 0")
        if requests_per_minute is None and tokens_per_minute is None:
            raise ConfigurationError("requests_per_minute, tokens_per_minute: one of them is needed")
        self._requests = math.inf if requests_per_minute is None else requests_per_minute
        self._tokens = math.inf if tokens_per_minute is None else tokens_per_minute
        self._given = given
        self._lock = Lock()
        self._places: deque[Place] = deque()
        """Those of the last minute and those to come, in the order of their times."""

    def __repr__(self) -> str:
        return f"RateLimiter({', '.join(f'{name}={value}' for name, value in self._given.items() if value)})"

    def reserve(self, call: Call[AnswerT], now: float) -> Place:
        """The next place for a request of this call. It has to be waited for until its time, or given back."""
        place = Place(now, len(call.body or b"") // _BYTES_PER_TOKEN)
        with self._lock:
            while self._places and self._places[0].at <= now - MINUTE:
                self._places.popleft()
            if self._places:
                place.at = max(
                    now,
                    self._places[-1].at,
                    self._earliest(self._requests - 1, lambda each: each.requests),
                    self._earliest(self._tokens - place.tokens, lambda each: each.tokens) if place.tokens else now,
                )
            self._places.append(place)
        return place

    def settle(self, place: Place, tokens: int) -> None:
        """The request took so many tokens."""
        place.tokens = tokens

    def give_back(self, place: Place) -> None:
        """The request was not sent."""
        with self._lock:
            place.requests = place.tokens = 0
            while self._places and not self._places[-1].requests:
                self._places.pop()

    def _earliest(self, room: float, count: Callable[[Place], int]) -> float:
        """When so much room is left in the minute before."""
        for each in reversed(self._places):
            room -= count(each)
            if room < 0 and count(each):
                return each.at + MINUTE
        return 0.0
