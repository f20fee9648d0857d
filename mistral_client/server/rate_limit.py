"""What one key may use in a minute, and the headers that say how much of it is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import errors

_MINUTE = 60.0


class RateLimit:
    """Middleware that lets each key make so many requests and use so many tokens a minute; None is no limit.

    What is used comes back evenly over the minute. Tokens count when they are known, those of the prompt when it is
    read and those of the answer when it has ended: a key in debt waits until it has paid.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        requests: int | None = None,
        tokens: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._requests = None if requests is None else _Limit(requests, clock)
        self._tokens = None if tokens is None else _Limit(tokens, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        key = state.get("client_key", "")
        cost = 0

        def spend(tokens: int) -> None:
            nonlocal cost
            cost += tokens
            if self._tokens is not None:
                self._tokens.take(key, tokens)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers(key, cost)]}
            await send(message)

        state["spend"] = spend
        limits = [limit for limit in (self._requests, self._tokens) if limit is not None]
        wait = max((limit.wait(key) for limit in limits), default=0.0)
        if wait > 0:
            await errors.rate_limited(math.ceil(wait)).response()(scope, receive, counted)
            return
        if self._requests is not None:
            self._requests.take(key, 1)
        await self._app(scope, receive, counted)

    def _headers(self, key: str, cost: int) -> list[tuple[bytes, bytes]]:
        found = {}
        for name, limit in (("req", self._requests), ("tokens", self._tokens)):
            if limit is not None:
                found[f"x-ratelimit-limit-{name}-minute"] = limit.size
                found[f"x-ratelimit-remaining-{name}-minute"] = limit.left(key)
        if self._tokens is not None:
            found["x-ratelimit-tokens-query-cost"] = cost
        return [(name.encode(), str(value).encode()) for name, value in found.items()]


def spend(scope: Scope, tokens: int) -> None:
    """Count tokens of this request, where tokens are limited."""
    counting: Callable[[int], None] | None = scope.get("state", {}).get("spend")
    if counting is not None:
        counting(tokens)


class _Limit:
    """For each key a store that is full at first and fills up again in a minute."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.size = size
        self._clock = clock
        self._full_at: dict[str, float] = {}
        """When each key will have all of it again; who is not here has it."""

    def left(self, key: str) -> int:
        """How much there is now; never less than none."""
        return max(0, math.floor(self._level(key)))

    def wait(self, key: str) -> float:
        """Seconds until there is one."""
        return max(0.0, (1 - self._level(key)) * _MINUTE / self.size)

    def take(self, key: str, amount: int) -> None:
        """Use some, even if there is not so much."""
        now = self._clock()
        self._full_at = {other: at for other, at in self._full_at.items() if at > now}
        self._full_at[key] = max(now, self._full_at.get(key, now)) + amount * _MINUTE / self.size

    def _level(self, key: str) -> float:
        missing = (self._full_at.get(key, 0.0) - self._clock()) * self.size / _MINUTE
        # A hair more, for the rounding of times.
        return self.size - max(0.0, missing) + 1e-6
