"""All costs and speeds beside others', what they were to be, and where they go: python -m tests.bench [clients] [server]
[profiles].

Prints them, and writes them into docs/performance.md. Ends with 1 where a goal is not met and nobody knows why.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from mistral_client.server.weights import default_model, smollm2

from . import client, footprint, goals, imports, model, page, parts, plots, server, stages, startup, token_path
from .client import OURS, RAW, WORKS, Costs
from .footprint import Footprint
from .goals import MIB, Goal


def main() -> int:
    print(f"load average {os.getloadavg()[0]:.2f}")
    wished = sys.argv[1:] or ["clients", "server", "profiles"]
    page.fill({"machine": _machine()})
    wanted: list[Goal] = []
    if "clients" in wished:
        wanted += _clients()
    if "server" in wished:
        wanted += _server()
    if "profiles" in wished:
        _profiles()
    print(*wanted, sep="\n")
    print(*goals.reached(wanted), sep="\n")
    return int(not all(goal.met or goal.limit for goal in wanted))


def _clients() -> list[Goal]:
    costs = client.measure(list(WORKS))
    imports = footprint.measure(footprint.IMPORTS)
    kept = footprint.measure(footprint.KEPT, 1)
    print(*footprint.shown(imports), *footprint.shown(kept), sep="\n", flush=True)
    wanted = [*goals.of_calls(costs), *goals.of_footprints(imports, kept)]
    plots.chunk({name: costs.median("stream", name) * 1e6 for name in costs.rounds["stream"]})
    page.fill({"calls": _calls(costs), "footprints": _footprints({**imports, **kept}), "goals": page.goals(wanted)})
    return wanted


def _server() -> list[Goal]:
    speeds = server.measure()
    print(*server.shown(speeds), sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        dense = model.perplexity(smollm2.fetch(Path(folder), shown=False))
    perplexity, sparse = model.perplexity(default_model()), model.sparse()
    first_token, building, batches = startup.first_token(), startup.building(), startup.embeddings()
    large, small = startup.memory(8192, 4), startup.memory(2048, 1)
    wanted = [
        *goals.of_answers(speeds),
        *goals.of_the_model(perplexity, dense, sparse),
        *goals.of_startup(first_token, building, small, batches),
    ]
    plots.streams(speeds)
    plots.experts(sparse)
    page.fill(
        {
            "answers": _answers(speeds),
            "perplexity": [f"Perplexity is {perplexity:.3f}; that of the dense model is {dense:.3f}."],
            "experts": _experts(sparse),
            "memory": _memory({"4 x 8,192 tokens, the default": large, "1 x 2,048 tokens": small}),
            "server goals": page.goals(wanted),
        }
    )
    return wanted


def _profiles() -> None:
    found = imports.measure()
    _profile("imports", [f"{name}, {unit}" for name in found for unit in ("ms", "MiB")], imports.shown(found))
    costs = stages.measure()
    for name, rows in {
        "stages of a call": stages.CALL,
        "stages of a chunk": stages.CHUNK,
        "layers over aiohttp": stages.AIOHTTP,
    }.items():
        _profile(name, ["µs"], stages.shown(costs, rows))
    _profile("parts of a token", ["ms"], parts.shown(parts.parts()))
    _profile("reading", ["tokens/s"], parts.read(parts.reading()))
    steps = [f"{what}, streams: {count}" for what in ("ms", "ms of processors beside") for count in token_path.STREAMS]
    _profile("path of a token", steps, token_path.shown(token_path.measure()))


def _profile(name: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [*page.table(["", *head], rows)]
    print(name, *lines, sep="\n", flush=True)
    page.fill({name: lines})


def _machine() -> Iterator[str]:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pydantic", "httpcore", "h11", "anyio", "xllamacpp"))
    yield (
        f"Measured on {os.cpu_count()} cores of {platform.machine()} under {platform.system()}, with CPython "
        f"{platform.python_version()}, httpx {version('httpx')}, {libraries}."
    )


def _calls(costs: Costs) -> Iterator[str]:
    names = [each.name for each in client.CONTENDERS]
    return page.table(
        ["", *names],
        (
            [WORKS[work][0], *(_cost(costs, work, name) if name in rounds else "" for name in names)]
            for work, rounds in costs.rounds.items()
        ),
    )


def _cost(costs: Costs, work: str, name: str) -> str:
    microseconds = costs.median(work, name) * 1e6
    shown = f"{microseconds:,.0f}" if microseconds >= 100 else f"{microseconds:.1f}"
    return f"**{shown}** ({costs.ratio(work, name, RAW):.2f})" if name == OURS else shown


def _footprints(found: Mapping[str, Footprint]) -> Iterator[str]:
    rows = ([name, f"{each.seconds * 1000:.0f}", f"{each.memory / MIB:.0f}"] for name, each in found.items())
    return page.table(["", "CPU, ms", "memory, MiB"], rows)


def _answers(speeds: server.Speeds) -> Iterator[str]:
    rows = [
        [
            f"tokens/s, streams at once: {count}",
            *(f"{speeds.tokens_a_second(name, count):.0f}" for name in server.NAMES),
        ]
        for count in server.STREAMS
    ]
    for prompt, described in {
        "short": "first token after, ms: a prompt of 40 tokens",
        "first turn": "first token after, ms: a conversation's first turn, 250 tokens",
        "second turn": "first token after, ms: its second turn",
    }.items():
        rows.append([described, *(f"{speeds.first_token(name, prompt) * 1000:.0f}" for name in server.NAMES)])
    return page.table(["", *server.NAMES], rows)


def _experts(sparse: list[model.Sparse]) -> Iterator[str]:
    rows = (
        [f"{each.experts} of 8", f"{each.tokens_a_second:.0f}", f"{each.active / 1e6:.0f}", f"{each.total / 1e6:.0f}"]
        for each in sparse
    )
    return page.table(["experts", "tokens/s", "active parameters, millions", "all parameters, millions"], rows)


def _memory(found: Mapping[str, startup.Memory]) -> Iterator[str]:
    rows = (
        [name, *(f"{size / 1e6:.0f}" for size in (*each, each.resident - each.weights - each.cache))]
        for name, each in found.items()
    )
    return page.table(["context", "memory, MB", "the weights", "the cache of the context", "the rest"], rows)


if __name__ == "__main__":
    sys.exit(main())
