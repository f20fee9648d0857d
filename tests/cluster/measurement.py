"""How fast the replicas of a cluster are, and what becomes of requests that come at random."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean, median

import simpy

from .load import Call, Planned, cards_seconds, closed_loop
from .routing import Homes
from .simulation import Fleet, Host, Job, Replica, Speed

WORDS = 3
"""Of the prompts, which makes some 38 tokens."""

ANSWERS = (8, 24)
"""Tokens: at least, and at most."""

_SESSIONS = 64
"""That are tried, until one leads to each of two replicas."""

_MORE = 1.5
"""Of the first sequence's step, at most for each further one."""

_BESIDE, _READING_BESIDE = 0.5, 1.0
"""At most: of two cores, two replicas and a third program that wants to work have two thirds each. While it reads a
prompt a replica also does what is to be done for its connections.
"""


class Prompts:
    """Requests of which no two are alike."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._number = self._draw.randrange(10**6) * 1000

    def one(self, session: int, at: float = 0.0, words: int = WORDS, answer: int | None = None) -> Planned:
        self._number += 1
        return Planned(at, self._number, words, answer or self._draw.randint(*ANSWERS), session)

    def poisson(self, rate: float, seconds: float) -> list[Planned]:
        """As many a second as the rate on average, each with a session of its own."""
        found, at = [], 0.0
        while (at := at + self._draw.expovariate(rate)) < seconds:
            found.append(self.one(self._draw.randrange(10**6), at))
        return found


def homes(url: str, prompts: Prompts) -> list[int]:
    """A session for each of two replicas."""
    found: dict[str, int] = {}
    for session in range(_SESSIONS):
        [call] = closed_loop(url, [[prompts.one(session, answer=1)]])
        found.setdefault(call.replica, session)
        if len(found) == 2:
            break
    return list(found.values())


@dataclass(slots=True)
class Phases:
    """Calls of closed loops, by their company; an entry for each cycle."""

    one: list[list[Call]] = field(default_factory=list)
    two: list[list[Call]] = field(default_factory=list)
    """In the same replica."""
    both: list[list[Call]] = field(default_factory=list)
    """One in each replica."""
    full: list[list[Call]] = field(default_factory=list)
    """Two in each."""
    outside: list[float] = field(default_factory=list)
    """Seconds of calls that need no model."""

    @property
    def saturation(self) -> float:
        """Requests a second that the replicas give together when all their slots are in use."""
        return median(len(calls) / max(call.end for call in calls) for calls in self.full)


def calibrate(url: str, sessions: Sequence[int], prompts: Prompts, cycles: int = 4, each: int = 2) -> Phases:
    """Measure replicas with each kind of company, which take turns."""
    first, second = sessions
    phases = Phases(outside=cards_seconds(url, 10))

    def loops(*workers: int) -> list[Call]:
        return closed_loop(url, [[prompts.one(session) for _ in range(each)] for session in workers])

    for _ in range(cycles):
        phases.one.append(loops(first))
        phases.two.append(loops(first, first))
        phases.both.append(loops(first, second))
        phases.full.append(loops(first, first, second, second))
    return phases


def fit(phases: Phases) -> Speed:
    """The speed that such calls had.

    Only what is of the same cycle is compared, so that what the machine does besides falls on both.
    """
    outside = median(phases.outside)
    alone = [call for calls in phases.one for call in calls if call.answer > 1]
    tokens = median(call.prompt for call in alone)
    decoding = [(call.end - call.first) / (call.answer - 1) for call in alone]
    reading = [(call.first - call.sent - outside) / call.prompt for call in alone]
    first = median(decoding)
    of_a_prompt = first * median(read / decoded for read, decoded in zip(reading, decoding, strict=True))

    company = _median_ratio(phases.two, phases.one, _whole)
    decoding_beside, reading_beside = (
        _median_ratio([*phases.both, *phases.full], [*phases.one, *phases.two], part) - 1
        for part in (_decoding, _first)
    )

    def speed(more: float) -> Speed:
        return Speed(
            steps=(0.0, *(first * (1 + more * others) for others in range(8))),
            reading=of_a_prompt,
            chunk=round(tokens),
            beside=min(max(decoding_beside, 0.0), _BESIDE),
            reading_beside=min(max(reading_beside, 0.0), _READING_BESIDE),
            outside=outside,
        )

    by_itself = _seconds(speed(0.0), phases.one)
    return speed(_solved(lambda more: _seconds(speed(more), phases.two) / by_itself, company, _MORE))


def _median_ratio(
    loops: Sequence[Sequence[Call]], others: Sequence[Sequence[Call]], seconds: Callable[[Sequence[Call]], float]
) -> float:
    return median(seconds(calls) / seconds(without) for calls, without in zip(loops, others, strict=True))


def _whole(calls: Sequence[Call]) -> float:
    return mean(call.end - call.sent for call in calls)


def _first(calls: Sequence[Call]) -> float:
    return mean(call.first - call.sent for call in calls)


def _decoding(calls: Sequence[Call]) -> float:
    """Of a token."""
    return sum(call.end - call.first for call in calls) / sum(call.answer - 1 for call in calls)


def _seconds(speed: Speed, loops: Sequence[Sequence[Call]]) -> float:
    """Of a call on average, in a simulation of these loops."""
    return mean(seconds for calls in loops for seconds in _simulated(speed, calls))


def _simulated(speed: Speed, calls: Sequence[Call]) -> list[float]:
    env = simpy.Environment()
    host = Host()
    names = sorted({call.replica for call in calls})
    # The calls of a worker are one after another, and workers one after another.
    workers: list[list[Call]] = []
    for call in calls:
        if not workers or call.sent < workers[-1][-1].end:
            workers.append([])
        workers[-1].append(call)
    taken: list[float] = []

    def worker(told: Sequence[Call]):
        for call in told:
            yield env.timeout(speed.outside)
            done = waiting[call.planned.number] = env.event()
            begun = env.now
            fleet.submit(Job(begun, call.planned.number, call.prompt, call.answer))
            yield done
            taken.append(env.now - begun + speed.outside)

    waiting: dict[int, simpy.Event] = {}
    router = Homes({call.planned.number: names.index(call.replica) for call in calls})
    fleet = Fleet(
        env,
        [Replica(env, speed, len(calls), 0, host) for _ in names],
        router,
        lambda job: waiting[job.conversation].succeed(),
    )
    for told in workers:
        env.process(worker(told))
    env.run()
    return taken


def _solved(of: Callable[[float], float], wanted: float, high: float) -> float:
    """Where a growing function of a number has a value, from 0 to `high`, or the end that is closer to it."""
    low = 0.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if of(middle) < wanted else (low, middle)
    return (low + high) / 2
