"""Where the time of a call and of a chunk goes, stage by stage: python -m tests.bench.stages.

Stages are run by themselves or on top of those before them, and what lies between two is their difference. CPU time of
the caller's process in microseconds, the least of rounds in which each has a turn: differences of two medians would be
mostly noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from .canned import canned
from .client import OURS, OVER_AIOHTTP, ROUNDS, contender, running

_COUNTS = {"stream": 6, "call": 100, "aiohttp": 4, "objects": 200}
"""How often a work is done in a round, by the first word of its name."""

CHUNK = {
    "the system: a socket, read": "stream.socket",
    "HTTP's chunks joined": "stream.joined",
    "h11 and httpcore": "stream.transport - stream.socket stream.joined",
    "the stream split into events": "stream.events",
    "pydantic: JSON to objects": "stream.typed - stream.events",
    "checks, and what an interruption must not lose": "stream.checked - stream.typed",
    "iteration, and the request's share": "stream.whole - stream.transport stream.checked",
    "together": "stream.whole",
}
CALL = {
    "arguments checked and written as JSON": "call.arguments",
    "httpx's request object, headers, timeouts": "call.request",
    "the system: a socket, written and read": "call.socket",
    "h11 and httpcore": "call.transport - call.request call.socket",
    "pydantic: JSON to objects": "call.typed",
    "retries, deadlines and the rest": "call.whole - call.arguments call.transport call.typed",
    "together": "call.whole",
}
AIOHTTP = {
    "raw aiohttp, with dicts": "aiohttp.alone",
    "httpx-aiohttp's transport, with httpx's request and response": "aiohttp.transport - aiohttp.alone",
    "typed arguments and answers in place of dicts": "objects.typed - objects.plain",
    "retries, deadlines and the rest": "aiohttp.ours objects.plain - aiohttp.transport objects.typed",
    "together: mistral_client over aiohttp": "aiohttp.ours",
    "for comparison: `httpx.AsyncClient` over the same transport, with dicts": "aiohttp.httpx",
}
"""Of each row the works that make it up and, after the minus, those that are taken off them."""


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    """CPU seconds for a unit of each work of contenders/stages.py and contenders/layers_aiohttp.py."""
    seen: dict[str, list[float]] = {}
    for name, script in ((OURS, "stages"), (OVER_AIOHTTP, "layers_aiohttp")):
        with canned() as url, running(replace(contender(name), script=script), url) as one:
            for turn in range(rounds + 1):
                for work in one.works:
                    cost = one.cost(work, _COUNTS[work.partition(".")[0]])
                    if turn:
                        seen.setdefault(work, []).append(cost)
    return {work: min(costs) for work, costs in seen.items()}


def shown(found: Mapping[str, float], stages: Mapping[str, str]) -> Iterator[list[str]]:
    """The rows of a table."""
    digits = 1 if stages is CHUNK else 0
    for row, works in stages.items():
        more, less = (sum(found[work] for work in side.split()) for side in works.partition("-")[::2])
        seconds = more - less
        yield [row, f"{seconds * 1e6:.{digits}f}"]


def main() -> None:
    found = measure()
    for stages in (CHUNK, CALL, AIOHTTP):
        print(*(f"{name:75} {cost:>8}" for name, cost in shown(found, stages)), "", sep="\n")


if __name__ == "__main__":
    main()
