"""What the simulation tells of a load, beside what was measured of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median, quantiles

import simpy

from .load import Call, open_loop
from .measurement import Prompts, calibrate, fit, homes
from .routing import Homes
from .simulation import Fleet, Host, Job, Replica, Speed, Status, replay

PARTS = (0.4, 0.8, 1.6)
"""Arrivals, as parts of what the replicas can do at most."""


WINDOW = 5.0
"""Seconds."""

_ROUNDS = 12
"""In which the pace is found."""

_PRIOR = 1.0
"""Seconds of decoding for which the pace of the whole load counts in that of a window."""

_REQUESTS = 24
"""Of a load at least, where that takes no more than twice its seconds."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the calls that were answered; seconds, and answers a second."""

    throughput: float
    mean: float
    p50: float
    p95: float
    first: float
    """To the first token, on average."""
    refused: float
    """Part of all calls."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One load. part: of saturation. pace: how many times as long as in the calibration the machine took for a token,
    in most windows. What else it does is an input, as arrivals are: of each window the pace is that of its tokens.
    """

    part: float
    pace: float
    measured: Figures
    simulated: Figures


def measure(
    url: str,
    slots: int,
    queue: int,
    *,
    rounds: int = 3,
    seconds: float = 30,
    parts: Sequence[float] = PARTS,
    cycles: int = 4,
) -> list[Compared]:
    """Load a cluster of two replicas, and simulate the same: the same arrivals and answers, at the speed that it has.

    Speed is measured anew before the loads of each round.
    """
    prompts = Prompts(rounds)
    sessions = homes(url, prompts)
    found = []
    for _ in range(rounds):
        phases = calibrate(url, sessions, prompts, cycles)
        speed = fit(phases)
        for part in parts:
            rate = part * phases.saturation
            plan = prompts.poisson(rate, min(max(seconds, _REQUESTS / rate), 2 * seconds))
            found.append(compared(part, open_loop(url, plan), speed, slots, queue))
    return found


def compared(part: float, calls: Sequence[Call], speed: Speed, slots: int, queue: int) -> Compared:
    """A load that was measured, and its simulation at the pace that the machine had."""
    windows = [1.0] * (int(max(call.end for call in calls) / WINDOW) + 1)
    for _ in range(_ROUNDS):
        jobs = simulate(calls, speed, slots, queue, windows)
        for number, ratio in _slower(calls, jobs, len(windows)):
            windows[number] *= ratio**0.7
    return Compared(part, median(windows), _measured(calls), _simulated(jobs, speed.outside))


def _slower(calls: Sequence[Call], jobs: Sequence[Job], windows: int) -> Iterator[tuple[int, float]]:
    """Of each window how many times as long as simulated its tokens took: seconds from first to last, no waiting."""
    measured, simulated = [0.0] * windows, [0.0] * windows
    for call, job in zip(calls, jobs, strict=True):
        if call.answered and job.status is Status.ANSWERED and call.answer > 1:
            number = int((call.first + call.end) / 2 / WINDOW)
            measured[number] += call.end - call.first
            simulated[number] += job.end - job.first
    overall = sum(measured) / sum(simulated)
    for number in range(windows):
        # Where there were few tokens, what is known of the others counts for more.
        yield number, (measured[number] + _PRIOR * overall) / (simulated[number] + _PRIOR)


def simulate(calls: Sequence[Call], speed: Speed, slots: int, queue: int, windows: Sequence[float]) -> list[Job]:
    """The same requests to the same replicas at the same times, on a machine of this pace in each window."""
    env = simpy.Environment()
    host = Host()
    names = sorted({call.replica for call in calls})
    prompt = round(median(call.prompt for call in calls if call.answered))
    jobs = [
        Job(call.sent, number, call.prompt or prompt, call.answer or call.planned.answer)
        for number, call in enumerate(calls)
    ]
    router = Homes({number: names.index(call.replica) for number, call in enumerate(calls)})
    fleet = Fleet(env, [Replica(env, speed, slots, queue, host) for _ in names], router)

    def machine():
        for pace in windows:
            host.keep(pace)
            yield env.timeout(WINDOW)

    env.process(machine())
    replay(env, fleet, sorted(jobs, key=lambda job: job.at))
    return jobs


def _measured(calls: Sequence[Call]) -> Figures:
    done = [call for call in calls if call.answered]
    return _figures(
        [call.end - call.sent for call in done],
        [call.first - call.sent for call in done],
        max(call.end for call in calls) - min(call.sent for call in calls),
        len(calls),
    )


def _simulated(jobs: Sequence[Job], outside: float) -> Figures:
    done = [job for job in jobs if job.status is Status.ANSWERED]
    return _figures(
        [job.end - job.at + outside for job in done],
        [job.first - job.at + outside for job in done],
        max(job.end for job in jobs) + outside - min(job.at for job in jobs),
        len(jobs),
    )


def _figures(times: list[float], firsts: list[float], seconds: float, calls: int) -> Figures:
    return Figures(
        len(times) / seconds,
        mean(times),
        median(times),
        quantiles(times, n=20, method="inclusive")[-1],
        mean(firsts),
        1 - len(times) / calls,
    )


def ratios(found: Sequence[Compared], part: float) -> dict[str, float]:
    """Simulated to measured, of each figure: the median of the rounds."""
    rounds = [each for each in found if each.part == part]
    names = ("throughput", "mean", "p50", "p95", "first")
    return {
        name: median(getattr(each.simulated, name) / getattr(each.measured, name) for each in rounds) for name in names
    }
