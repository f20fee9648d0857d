"""What calls, imports, memory and answers may cost or have to bring, and what they did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from . import limits
from .client import AIOHTTP, OURS, OVER_AIOHTTP, RAW, WORKS, Costs
from .footprint import Footprint
from .limits import Limit
from .model import Sparse
from .server import LOCAL, SERVE, STREAMS, THEIRS, Speeds
from .startup import Batches, Memory

OFFICIAL, OPENAI = "mistralai 3.7.0", "openai 3.57.0"
MIB = 2**20


class Goal(NamedTuple):
    """bound: what the value may be at most, or at least. Values are ratios unless `unit` says something else.

    limit: what keeps the value from its bound, where that is known.
    """

    name: str
    value: float
    bound: float
    unit: str = ""
    at_least: bool = False
    limit: Limit | None = None

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def wanted(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.bound:.3f}"

    def __str__(self) -> str:
        why = f"; limit: {self.limit.title}" if self.limit and not self.met else ""
        return f"{'met    ' if self.met else 'NOT met'}  {self.name}: {self.value:.3f}{self.unit}, {self.wanted}{why}"


def reached(wanted: Sequence[Goal]) -> list[Limit]:
    """The limits that keep goals from being met, each once."""
    return [*dict.fromkeys(goal.limit for goal in wanted if goal.limit and not goal.met)]


def of_calls(costs: Costs) -> Iterator[Goal]:
    """The goals of the works that were measured."""
    for work, other, most, limit in (
        ("chat", RAW, 0.90, None),
        ("stream", RAW, 0.60, None),
        ("async_stream", RAW, 0.60, None),
        ("stream", OFFICIAL, 1 / 60, limits.SIXTIETH),
        ("stream", OPENAI, 1 / 12, limits.TWELFTH),
        ("streams_at_once", RAW, 0.70, None),
        ("chats_at_once", RAW, 0.80, None),
        ("embed_floats", RAW, 0.40, None),
    ):
        if work in costs.rounds:
            yield Goal(f"{WORKS[work][0]}, to {other}", costs.ratio(work, OURS, other), most, limit=limit)
    if "chats_at_once" in costs.rounds:
        ratio = costs.ratio("chats_at_once", OVER_AIOHTTP, AIOHTTP)
        name = f"{WORKS['chats_at_once'][0]}, over aiohttp, to raw aiohttp"
        yield Goal(name, ratio, 1.2, limit=limits.OVER_AIOHTTP)
    if {"embed_base64", "embed_floats"} <= costs.rounds.keys():
        ratio = costs.median("embed_base64", OURS) / costs.median("embed_floats", RAW)
        yield Goal("64 vectors as base64, to raw httpx with JSON", ratio, 0.10)
    if {"long_stream", "stream"} <= costs.rounds.keys():
        # Ten times the chunks in one stream: the same for each, or less.
        ratio = 10 * costs.median("long_stream", OURS) / costs.median("stream", OURS)
        yield Goal("ten times the chunks, in times the work", ratio, 10.5)
    if {"hundred_messages", "thousand_messages"} <= costs.rounds.keys():
        ratio = costs.median("thousand_messages", OURS) / costs.median("hundred_messages", OURS)
        yield Goal("ten times the messages, in times the work", ratio, 10.5)


def of_footprints(imports: Mapping[str, Footprint], kept: Mapping[str, Footprint]) -> Iterator[Goal]:
    """The goals of importing, building and keeping clients."""
    libraries = imports["import httpx, pydantic"].seconds
    built = imports["mistral_client, and build a client"].seconds
    official = imports[f"{OFFICIAL}, and build a client"].seconds
    for other, seconds, most in (("import httpx, pydantic", libraries, 1.10), (OFFICIAL, official, 0.35)):
        yield Goal(f"import and build a client, to {other}", built / seconds, most, limit=limits.IMPORTING)
    alone = imports["import mistral_client"].seconds
    yield Goal("import mistral_client alone, to import httpx, pydantic", alone / libraries, 0.5)
    for name, ours, raw in (
        ("one", imports["mistral_client, and build a client"], kept["raw httpx and pydantic, one client"]),
        ("1,000", kept["mistral_client, 1,000"], kept["raw httpx and pydantic, 1,000 clients"]),
    ):
        more = (ours.memory - raw.memory) / MIB
        yield Goal(f"memory of mistral_client, {name}, over raw httpx", more, 3.0, " MiB", limit=limits.MEMORY)


def of_answers(speeds: Speeds) -> Iterator[Goal]:
    """The goals of answers, beside llama.cpp's own server."""
    for name in (SERVE, LOCAL):
        for streams in STREAMS:
            ratio = speeds.ratio(name, streams)
            goal = f"tokens/s of {name}, {_streams(streams)}, to {THEIRS}"
            yield Goal(goal, ratio, 0.97, at_least=True, limit=limits.THEIR_SERVER)
    later = speeds.first_token(SERVE, "short") - speeds.first_token(THEIRS, "short")
    name = f"first token of {SERVE} after that of {THEIRS}, a prompt of 40 tokens"
    yield Goal(name, later * 1000, 5.0, " ms", limit=limits.FIRST_TOKEN)
    turns = speeds.first_token(SERVE, "second turn") / speeds.first_token(SERVE, "first turn")
    yield Goal("first token of a conversation's second turn, to that of its first", turns, 0.2)
    for streams, least in ((1, 90.0), (8, 150.0)):
        speed = speeds.tokens_a_second(SERVE, streams)
        yield Goal(f"tokens/s of {SERVE}, {_streams(streams)}", speed, least, at_least=True, limit=limits.OWN_SPEED)


def of_the_model(perplexity: float, dense: float, sparse: list[Sparse]) -> Iterator[Goal]:
    """The goals of the default weights."""
    yield Goal("perplexity of the default model, to that of the dense one it is made of", perplexity / dense, 1.02)
    two, eight = (next(each for each in sparse if each.experts == used) for used in (2, 8))
    ratio = two.tokens_a_second / eight.tokens_a_second
    yield Goal("tokens/s with two of eight experts, to all eight", ratio, 1.0, at_least=True)


def of_startup(first_token: float, building: float, small: Memory, batches: Batches) -> Iterator[Goal]:
    """The goals of having a server."""
    yield Goal("from the command to the first token", first_token, 2.0, " s")
    yield Goal("building the default weights", building, 4.0, " s")
    yield Goal("memory over the weights, a context of 2,048 tokens", (small.resident - small.weights) / 1e6, 250, " MB")
    times = batches.alone / batches.together
    yield Goal("64 texts in one request, in times one by one", times, 3.0, at_least=True, limit=limits.BATCHES)


def _streams(count: int) -> str:
    return "one stream" if count == 1 else f"{count} streams"
