"""What calls, imports and memory may cost, as ratios, and what they did cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .client import OURS, RAW, WORKS, Costs
from .footprint import Footprint

OFFICIAL, OPENAI = "mistralai 3.7.0", "openai 3.57.0"
MIB = 2**20


class Goal(NamedTuple):
    """most: of the value, which is a ratio unless `unit` says something else."""

    name: str
    value: float
    most: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.most

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'NOT met'}  {self.name}: {self.value:.3f}{self.unit} <= {self.most:.3f}"


def of_calls(costs: Costs) -> Iterator[Goal]:
    """The goals of the works that were measured."""
    for work, other, most in (
        ("chat", RAW, 0.90),
        ("stream", RAW, 0.60),
        ("async_stream", RAW, 0.60),
        ("stream", OFFICIAL, 1 / 60),
        ("stream", OPENAI, 1 / 12),
        ("streams_at_once", RAW, 0.70),
        ("chats_at_once", RAW, 0.80),
        ("embed_floats", RAW, 0.40),
    ):
        if work in costs.rounds:
            yield Goal(f"{WORKS[work][0]}, to {other}", costs.ratio(work, OURS, other), most)
    if {"embed_base64", "embed_floats"} <= costs.rounds.keys():
        ratio = costs.median("embed_base64", OURS) / costs.median("embed_floats", RAW)
        yield Goal("64 vectors as base64, to raw httpx with JSON", ratio, 0.10)
    if {"long_stream", "stream"} <= costs.rounds.keys():
        # Ten times the chunks in one stream: the same for each, or less.
        ratio = 10 * costs.median("long_stream", OURS) / costs.median("stream", OURS)
        yield Goal("ten times the chunks, in times the work", ratio, 10.5)


def of_footprints(imports: Mapping[str, Footprint], kept: Mapping[str, Footprint]) -> Iterator[Goal]:
    """The goals of importing, building and keeping clients."""
    libraries = imports["import httpx, pydantic"].seconds
    built = imports["mistral_client, and build a client"].seconds
    yield Goal("import and build a client, to import httpx, pydantic", built / libraries, 1.10)
    yield Goal(
        f"import and build a client, to {OFFICIAL}", built / imports[f"{OFFICIAL}, and build a client"].seconds, 0.35
    )
    alone = imports["import mistral_client"].seconds
    yield Goal("import mistral_client alone, to import httpx, pydantic", alone / libraries, 0.5)
    for name, ours, raw in (
        ("one", imports["mistral_client, and build a client"], kept["raw httpx and pydantic, one client"]),
        ("1,000", kept["mistral_client, 1,000"], kept["raw httpx and pydantic, 1,000 clients"]),
    ):
        yield Goal(f"memory of mistral_client, {name}, over raw httpx", (ours.memory - raw.memory) / MIB, 3.0, " MiB")
