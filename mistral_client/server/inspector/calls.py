"""The last calls, within a number and a size, and news of them for who looks."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from itertools import islice

import anyio

from .call import Call

CALLS = 200
"""That are kept."""

BYTES = 32 * 2**20
"""That they may take together, but for the answers of those that run."""

_SHORTLY = 10
"""Calls before a refusal."""

TICK = 0.1
"""Seconds from one look at calls that run to the next."""

ALIVE = 15.0
"""Seconds after which a page is told that nothing happened."""


class Inspector:
    """Keeps the last calls. All of it happens in one event loop."""

    def __init__(self, *, calls: int = CALLS, size: int = BYTES) -> None:
        self._calls: deque[Call] = deque()
        self._most = calls
        self._most_bytes = size
        self._bytes = 0
        self._latest = 0
        self._watching = 0
        self._ended = False
        self._news: anyio.Event | None = None

    @property
    def watched(self) -> bool:
        """Somebody looks."""
        return self._watching > 0

    @property
    def oldest(self) -> int:
        """The number of the first call that is kept; where there is none, of the one to come."""
        return self._calls[0].number if self._calls else self._latest + 1

    def begin(
        self, method: str, path: str, *, agent: str = "", attempts: str = "", label: str = "", correlation: str = ""
    ) -> Call:
        """A call has come."""
        self._latest += 1
        call = Call(self._latest, method, path, agent, attempts, label, correlation, self.watched)
        self._calls.append(call)
        if len(self._calls) > self._most:
            self._drop()
        self.changed(call)
        return call

    def changed(self, call: Call) -> None:
        """There is something new of a call."""
        call.version += 1
        self._tell()

    def end(self, call: Call, outcome: str) -> None:
        """A call has ended."""
        call.settle(outcome)
        self.weigh(call)
        self.changed(call)

    def weigh(self, call: Call) -> None:
        """More or less is kept of a call."""
        size = call.weight
        self._bytes += size - call.size
        call.size = size
        while self._bytes > self._most_bytes:
            self._drop()

    def folded(self, call: Call) -> bool:
        """Whether a refusal is counted with one that came shortly before: a flood must not wash all else away."""
        if not self._calls or self._calls[-1] is not call or call.body:
            return False
        for before in islice(reversed(self._calls), 1, 1 + _SHORTLY):
            if not before.body and (before.status, before.method, before.path) == (call.status, call.method, call.path):
                self._calls.pop()
                before.times += 1
                self.changed(before)
                return True
        return False

    def find(self, number: int) -> Call | None:
        """The call of this number, if it is still there."""
        return next((call for call in self._calls if call.number == number), None)

    def clear(self) -> None:
        """Forget all."""
        while self._calls:
            self._drop()
        self._tell()

    def close(self) -> None:
        """The server ends, and nobody looks any more."""
        self._ended = True
        self._tell()

    async def follow(self) -> AsyncGenerator[list[Call]]:
        """All calls, oldest first, then those of which there is something new; now and then none. Must be closed."""
        told: dict[int, tuple[int, int]] = {}
        self._watching += 1
        try:
            while not self._ended:
                now = {call.number: (call.version, call.answer_tokens) for call in self._calls}
                news = [call for call in self._calls if told.get(call.number) != now[call.number]]
                told = now
                yield news
                if self._news is None or self._news.is_set():
                    self._news = anyio.Event()
                running = any(not call.outcome for call in self._calls)
                with anyio.move_on_after(TICK if running else ALIVE):
                    await self._news.wait()
                    await anyio.sleep(TICK / 2)  # a crowd is told of in one piece
        finally:
            self._watching -= 1

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    def _drop(self) -> None:
        call = self._calls.popleft()
        call.forget()
        self._bytes -= call.size
        call.size = 0
