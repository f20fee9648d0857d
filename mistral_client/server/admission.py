"""Who may use the model now, who waits, and who is turned away."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from . import errors
from .errors import WireError

WAITING = 64
"""Places in the queue. At a few seconds an answer it holds what clients have the patience for, and a waiting request
takes kilobytes."""

_WEIGHT = 0.2
"""Of the latest observation in the running average."""


@dataclass(slots=True, eq=False)
class _Waiter:
    decided: anyio.Event = field(default_factory=anyio.Event)
    refusal: WireError | None = None


@dataclass(slots=True)
class _Client:
    """What goes by one key."""

    waiting: deque[_Waiter] = field(default_factory=deque)
    running: int = 0
    served: int = 0
    """When it was last given a slot: the number of slots given until then."""


class Admission:
    """So many run, so many wait, the rest is refused at once.

    A slot that comes free goes to the client with the fewest running, of these to the one that was not served for
    longest. A client alone may fill the queue. When others come, the one with most waiting gives up its latest place:
    each ends up with an equal share.

    All of it happens in one event loop, asyncio or trio.
    """

    def __init__(self, running: int, waiting: int = WAITING, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.threads = anyio.CapacityLimiter(running)
        """For the engine's work; who has a slot finds a thread."""
        self._slots = running
        self._places = waiting
        self._clock = clock
        self._clients: dict[str, _Client] = {}
        self._given = 0
        self._seconds_held: float | None = None
        """Running average of how long a slot is in use."""
        self._closed = False

    @property
    def running(self) -> int:
        """How many have a slot."""
        return sum(client.running for client in self._clients.values())

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return sum(len(client.waiting) for client in self._clients.values())

    def check(self, key: str = "") -> None:
        """Raises what `slot` would raise now; work done to prepare for a slot is spared."""
        if self._closed:
            raise errors.closing()
        if self.running >= self._slots and self.waiting >= self._places and self._yielding(key) is None:
            raise self._full()

    @asynccontextmanager
    async def slot(self, key: str = "") -> AsyncIterator[None]:
        """A slot for as long as the block takes, after a wait where need be; who leaves the queue leaves nothing in it.

        Raises the API's error 3505 where the queue is full, 1100 where the server ends.
        """
        self.check(key)
        client = self._clients.setdefault(key, _Client())
        if self.running < self._slots:
            self._give(client)
        else:
            await self._wait(key, client)
        begun = self._clock()
        try:
            yield
        finally:
            held = self._clock() - begun
            average = held if self._seconds_held is None else self._seconds_held
            self._seconds_held = average + _WEIGHT * (held - average)
            self._release(key, client)

    def close(self) -> None:
        """All who wait get 503, and all who come later. Those who run are not disturbed."""
        self._closed = True
        for client in self._clients.values():
            while client.waiting:
                _refuse(client.waiting.popleft(), errors.closing())

    async def _wait(self, key: str, client: _Client) -> None:
        if self.waiting >= self._places and (other := self._yielding(key)) is not None:
            _refuse(other.waiting.pop(), self._full())
        waiter = _Waiter()
        client.waiting.append(waiter)
        try:
            await waiter.decided.wait()
        except BaseException:
            if waiter in client.waiting:
                client.waiting.remove(waiter)
                self._forget(key, client)
            elif waiter.refusal is None:  # cancelled in the moment in which it was served
                self._release(key, client)
            raise
        if waiter.refusal is not None:
            self._forget(key, client)
            raise waiter.refusal

    def _give(self, client: _Client) -> None:
        self._given += 1
        client.running += 1
        client.served = self._given

    def _release(self, key: str, client: _Client) -> None:
        client.running -= 1
        waiting = [other for other in self._clients.values() if other.waiting]
        if waiting:
            chosen = min(waiting, key=lambda other: (other.running, other.served))
            self._give(chosen)
            chosen.waiting.popleft().decided.set()
        self._forget(key, client)

    def _forget(self, key: str, client: _Client) -> None:
        if not client.running and not client.waiting and self._clients.get(key) is client:
            del self._clients[key]

    def _yielding(self, key: str) -> _Client | None:
        """Who gives up a place in a full queue to this client: who has two more than it."""
        own = len(self._clients[key].waiting) if key in self._clients else 0
        most = max(self._clients.values(), key=lambda client: len(client.waiting), default=None)
        return most if most is not None and len(most.waiting) > own + 1 else None

    def _full(self) -> WireError:
        """Refusal with the time in which what is here now will have been served, as measured."""
        held = 1.0 if self._seconds_held is None else self._seconds_held
        return errors.full(max(1, math.ceil(held / self._slots * (self.waiting + 1))))


def _refuse(waiter: _Waiter, refusal: WireError) -> None:
    waiter.refusal = refusal
    waiter.decided.set()
