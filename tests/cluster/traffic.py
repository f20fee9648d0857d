"""Conversations as they come over a day: more by day than by night, and bursts."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Burst:
    """begin, seconds: when, and for how long. factor: how many times as much comes."""

    begin: float
    seconds: float
    factor: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """mean: requests a second over the day without bursts. swing: how far it goes up and down, as a part. peak: when.

    turns: requests of a conversation on average. prompt: tokens of its first prompt, question: of each later message,
    answer: of each answer, all on average. pause: seconds between an answer and the next question, on average.
    """

    mean: float
    swing: float = 0.45
    peak: float = 15 * 3600.0
    bursts: tuple[Burst, ...] = ()
    turns: float = 3.0
    prompt: int = 800
    question: int = 150
    answer: int = 300
    pause: float = 45.0

    def rate(self, at: float) -> float:
        """Requests a second at a time of day."""
        rate = self.mean * (1 + self.swing * math.cos(2 * math.pi * (at - self.peak) / DAY))
        for burst in self.bursts:
            if burst.begin <= at < burst.begin + burst.seconds:
                rate *= burst.factor
        return rate

    def conversations(self, draw: random.Random, begin: float, end: float) -> Iterator[float]:
        """Times at which one begins. A conversation brings its later requests with it."""
        highest = self.mean * (1 + self.swing) * max((burst.factor for burst in self.bursts), default=1.0) / self.turns
        at = begin
        while (at := at + draw.expovariate(highest)) < end:
            if draw.random() * highest * self.turns < self.rate(at):
                yield at

    def goes_on(self, draw: random.Random) -> bool:
        """Whether there is another question after an answer."""
        return draw.random() < 1 - 1 / self.turns


def size(draw: random.Random, average: float) -> int:
    """Tokens of a text: logarithmically normal with a deviation of 0.8, as texts of conversations are, at least one."""
    return max(1, round(draw.lognormvariate(math.log(average) - 0.32, 0.8)))


def bursts(draw: random.Random, count: int = 6) -> tuple[Burst, ...]:
    """Some, each in a part of the day of its own: 5 to 15 minutes with 1.3 to 1.8 times as much."""
    return tuple(
        Burst((number + draw.random() * 0.9) * DAY / count, draw.uniform(300, 900), draw.uniform(1.3, 1.8))
        for number in range(count)
    )
