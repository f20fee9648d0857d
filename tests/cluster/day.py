"""A share of a fleet over some hours: conversations, failures, and what users see of it.

What is simulated is a cell: some of the replicas with the traffic that falls on them. Cells meet nowhere. A request
sees its replica and the two that stand in for it, so a cell of ten behaves as one of thousands, which a test checks.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import simpy

from .capacity import Replica as Hardware
from .routing import Ring, Router, TwoChoices
from .simulation import Fleet, Job, Replica, Speed, Status
from .traffic import DAY, Traffic, size

APART = 3 * DAY
"""Seconds between failures of a replica, on average, unless told otherwise."""

LOOK_BACK = 1650
"""Tokens of context by which the time of a step is reckoned."""


@dataclass(frozen=True, slots=True)
class Plan:
    """hardware: of a replica. slots: sequences at once. queue: requests that wait at a replica.

    apart: seconds between failures of a replica, on average. restart: seconds that it then takes.
    outside: seconds a request spends in proxies and on the way.
    """

    hardware: Hardware
    slots: int = 128
    queue: int = 64
    apart: float = APART
    restart: float = 240.0
    outside: float = 0.02
    sticky: bool = True
    """Conversations stay with a replica; else the better of two by chance."""

    def speed(self) -> Speed:
        steps = tuple(self.hardware.step(batch, LOOK_BACK) for batch in range(self.slots + 1))
        return Speed(steps, self.hardware.reading(LOOK_BACK), chunk=512, outside=self.outside)


@dataclass(slots=True)
class Bin:
    """What came to its end in some minutes."""

    arrived: int = 0
    refused: int = 0
    broken: int = 0
    first: array[float] = field(default_factory=lambda: array("f"))
    """Seconds to the first token, of those answered."""
    whole: array[float] = field(default_factory=lambda: array("f"))
    tokens: int = 0
    """Of answers."""
    read: int = 0
    asked: int = 0
    """Tokens of prompts: those that had to be read, and all."""


def simulate(
    plan: Plan, traffic: Traffic, replicas: int, seed: int, begin: float = 0.0, end: float = DAY, every: float = 300.0
) -> list[Bin]:
    """Run a cell of so many replicas. traffic.mean is that of one replica.

    Bins are of `every` seconds; a request is in that of its arrival.
    """
    return _Cell(plan, traffic, replicas, seed, begin, end, every).run()


class _Cell:
    def __init__(
        self, plan: Plan, traffic: Traffic, replicas: int, seed: int, begin: float, end: float, every: float
    ) -> None:
        self._draw = random.Random(seed)
        self._env = simpy.Environment(initial_time=begin)
        self._plan = plan
        self._traffic = traffic
        self._begin, self._end, self._every = begin, end, every
        speed = plan.speed()
        memory = plan.hardware.context
        parts = [Replica(self._env, speed, plan.slots, plan.queue, memory=memory) for _ in range(replicas)]
        router: Router = Ring(replicas, self._draw) if plan.sticky else TwoChoices(parts, self._draw)
        self._fleet = Fleet(self._env, parts, router, self._ended)
        self.bins = [Bin() for _ in range(int((end - begin) / every))]

    def run(self) -> list[Bin]:
        self._env.process(self._conversations())
        self._env.process(self._failures())
        self._env.run(until=self._end)
        return self.bins

    def _conversations(self):
        env, draw, traffic = self._env, self._draw, self._traffic
        whole = Traffic(**{**_fields(traffic), "mean": traffic.mean * len(self._fleet.replicas)})
        for at in whole.conversations(draw, self._begin, self._end):
            yield env.timeout(at - env.now)
            self._ask(draw.getrandbits(64), size(draw, traffic.prompt), 0)

    def _ask(self, conversation: int, prompt: int, known: int) -> None:
        now = self._env.now
        self._bin(now).arrived += 1
        self._fleet.submit(Job(now, conversation, prompt, size(self._draw, self._traffic.answer) + 1, known))

    def _ended(self, job: Job) -> None:
        found = self._bin(job.at)
        if job.status is not Status.ANSWERED:
            if job.status is Status.REFUSED:
                found.refused += 1
            else:
                found.broken += 1
            return
        outside = self._plan.outside
        found.first.append(job.first - job.at + outside)
        found.whole.append(job.end - job.at + outside)
        found.tokens += job.answer
        found.read += job.read
        found.asked += job.prompt
        if self._traffic.goes_on(self._draw):
            prompt = job.context + size(self._draw, self._traffic.question)
            pause = simpy.Timeout(self._env, self._draw.expovariate(1 / self._traffic.pause))
            pause.callbacks.append(lambda _: self._ask(job.conversation, prompt, job.context))

    def _bin(self, at: float) -> Bin:
        return self.bins[min(int((at - self._begin) / self._every), len(self.bins) - 1)]

    def _failures(self):
        replicas = len(self._fleet.replicas)
        while True:
            yield self._env.timeout(self._draw.expovariate(replicas / self._plan.apart))
            failing = self._draw.randrange(replicas)
            if self._fleet.replicas[failing].up:
                self._fleet.fail(failing)
                self._env.process(self._restart(failing))

    def _restart(self, failing: int):
        yield self._env.timeout(self._plan.restart)
        self._fleet.replicas[failing].restart()


def _fields(traffic: Traffic) -> dict[str, object]:
    return {name: getattr(traffic, name) for name in Traffic.__dataclass_fields__}


def percentile(values: Sequence[float], part: float) -> float:
    """Not a number where there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]
