"""Which replica a request goes to. Pure: no clock, and chance only from the generator that is given."""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from typing import Protocol

VIRTUAL_NODES = 100
FALLBACKS = 2
"""Both are what Serve's `ConsistentHashRouter` has by default."""


class Loaded(Protocol):
    """What a choice may look at: the requests that a replica has."""

    @property
    def load(self) -> int: ...


class Router(Protocol):
    """Names replicas by their places in the fleet, the one to be asked first at the head."""

    def ranked(self, conversation: int) -> Sequence[int]: ...


class Ring:
    """Consistent hashing: a conversation has one replica, and the next ones on the ring where that one is full.

    A conversation is a number of 64 bits, drawn evenly, and is its own hash.
    """

    def __init__(self, replicas: int, draw: random.Random, fallbacks: int = FALLBACKS) -> None:
        placed = sorted((draw.getrandbits(64), replica) for replica in range(replicas) for _ in range(VIRTUAL_NODES))
        self._places = [place for place, _ in placed]
        self._replicas = [replica for _, replica in placed]
        self._wanted = min(fallbacks + 1, replicas)

    def ranked(self, conversation: int) -> Sequence[int]:
        found: list[int] = []
        at = bisect.bisect_right(self._places, conversation)
        while len(found) < self._wanted:
            replica = self._replicas[at % len(self._replicas)]
            if replica not in found:
                found.append(replica)
            at += 1
        return found


class TwoChoices:
    """Two replicas by chance, the one with fewer requests first, which is Serve's way unless it is told another."""

    def __init__(self, replicas: Sequence[Loaded], draw: random.Random) -> None:
        self._replicas = replicas
        self._draw = draw

    def ranked(self, conversation: int) -> Sequence[int]:
        chosen = self._draw.sample(range(len(self._replicas)), min(2, len(self._replicas)))
        return sorted(chosen, key=lambda each: self._replicas[each].load)


class Homes:
    """Conversations whose replica is known."""

    def __init__(self, homes: dict[int, int]) -> None:
        self._homes = homes

    def ranked(self, conversation: int) -> Sequence[int]:
        return (self._homes[conversation],)
