"""Who may use the model now, who waits, and who is turned away."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio

from . import errors
from .errors import WireError

WAITING = 64
"""Places in the queue. At a few seconds an answer it holds what clients have the patience for, and a waiting request
takes kilobytes."""

_WEIGHT = 0.2
"""Of the latest observation in the running average."""

_PREPARING = 2
"""Threads. One alone would let a single schema that is hard to follow hold up all others."""


@dataclass(slots=True, eq=False)
class Place:
    """One request's place among those that are here: first it is prepared, then it waits, then it runs."""

    key: str
    ready: bool = False
    """It waits for nothing but a slot."""
    running: bool = False
    refusal: WireError | None = None
    decided: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True)
class _Client:
    """What goes by one key."""

    waiting: deque[Place] = field(default_factory=deque)
    running: int = 0
    served: int = 0
    """When it was last given a slot: the number of slots given until then."""


class Admission:
    """So many run, so many wait, the rest is refused at once.

    A request has its place before it is prepared, so a crowd is refused before anything is done for it. A slot that
    comes free goes to the client with the fewest running, of these to the one that was not served for longest. A client
    alone may fill the queue. When others come, the one with most waiting gives up its latest place: each ends up with
    an equal share.

    All of it happens in one event loop, asyncio or trio.
    """

    def __init__(self, running: int, waiting: int = WAITING, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.threads = anyio.CapacityLimiter(running)
        """For the engine's work; who has a slot finds a thread."""
        self.preparing = anyio.CapacityLimiter(_PREPARING)
        """For the work on requests before they run. Python computes in one thread at a time, and the event loop takes
        its turn with them."""
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
        """How many are in the queue, or prepared for it."""
        return sum(len(client.waiting) for client in self._clients.values())

    def refusal(self, key: str = "") -> WireError | None:
        """What `enter` would raise now."""
        if self._closed:
            return errors.closing()
        if self._is_full() and self._yielding(key) is None:
            return self._full()
        return None

    def enter(self, key: str = "") -> Place:
        """A place for a request, to be used for `slot` or given back with `leave`.

        Raises the API's error 3505 where all are taken, 1100 where the server ends.
        """
        if (refusal := self.refusal(key)) is not None:
            raise refusal
        if self._is_full() and (other := self._yielding(key)) is not None:
            _refuse(other.waiting.pop(), self._full())
        place = Place(key)
        self._clients.setdefault(key, _Client()).waiting.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Give a place back, whatever has become of it; more than once does no harm."""
        client = self._clients.get(place.key)
        if client is None:
            return
        if place.running:
            place.running = False
            client.running -= 1
            self._serve()
        elif place in client.waiting:
            client.waiting.remove(place)
        if not client.running and not client.waiting:
            self._clients.pop(place.key, None)

    @contextmanager
    def place(self, key: str = "") -> Iterator[Place]:
        """A place for as long as the block takes. Raises what `enter` raises."""
        place = self.enter(key)
        try:
            yield place
        finally:
            self.leave(place)

    @asynccontextmanager
    async def slot(self, place: Place) -> AsyncIterator[None]:
        """A slot for as long as the block takes, after a wait where need be. Then the place is given back.

        Raises the API's error 3505 where the place had to be given up to another client, 1100 where the server ends.
        """
        place.ready = True
        try:
            self._serve()
            await place.decided.wait()
            if place.refusal is not None:
                raise place.refusal
            begun = self._clock()
            try:
                yield
            finally:
                held = self._clock() - begun
                average = held if self._seconds_held is None else self._seconds_held
                self._seconds_held = average + _WEIGHT * (held - average)
        finally:
            self.leave(place)

    def close(self) -> None:
        """All who wait get 503, and all who come later. Those who run are not disturbed."""
        self._closed = True
        for client in self._clients.values():
            while client.waiting:
                _refuse(client.waiting.popleft(), errors.closing())

    def _serve(self) -> None:
        """Give the slots that are free."""
        while self.running < self._slots:
            ready = [client for client in self._clients.values() if any(place.ready for place in client.waiting)]
            if not ready:
                return
            chosen = min(ready, key=lambda client: (client.running, client.served))
            place = next(place for place in chosen.waiting if place.ready)
            chosen.waiting.remove(place)
            self._given += 1
            chosen.running += 1
            chosen.served = self._given
            place.running = True
            place.decided.set()

    def _is_full(self) -> bool:
        return self.running + self.waiting >= self._slots + self._places

    def _yielding(self, key: str) -> _Client | None:
        """Who gives up a place in a full queue to this client: who has two more than it."""
        own = len(self._clients[key].waiting) if key in self._clients else 0
        most = max(self._clients.values(), key=lambda client: len(client.waiting), default=None)
        return most if most is not None and len(most.waiting) > own + 1 else None

    def _full(self) -> WireError:
        """Refusal with the time in which what is here now will have been served, as measured."""
        held = 1.0 if self._seconds_held is None else self._seconds_held
        return errors.full(max(1, math.ceil(held / self._slots * (self.waiting + 1))))


def _refuse(place: Place, refusal: WireError) -> None:
    place.refusal = refusal
    place.decided.set()
