"""All of the client's costs beside others', and what they were to be: python -m tests.bench.

Prints them, and writes them into docs/performance.md. Ends with 1 where a goal is not met.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from . import client, footprint, goals
from .client import OURS, RAW, WORKS, Costs
from .footprint import Footprint

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def main() -> int:
    print(f"load average {os.getloadavg()[0]:.2f}")
    costs = client.measure(list(WORKS))
    imports = footprint.measure(footprint.IMPORTS)
    kept = footprint.measure(footprint.KEPT, 1)
    print(*footprint.shown(imports), *footprint.shown(kept), sep="\n")
    wanted = [*goals.of_calls(costs), *goals.of_footprints(imports, kept)]
    print(*wanted, sep="\n")
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in {
        "machine": _machine(),
        "calls": _calls(costs),
        "footprints": _footprints({**imports, **kept}),
        "goals": _goals(wanted),
    }.items():
        text = _filled(text, name, "\n".join(lines))
    PAGE.write_text(text, encoding="utf-8")
    return int(not all(goal.met for goal in wanted))


def _filled(text: str, name: str, content: str) -> str:
    """The page with what stands between the marks of this name replaced."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise RuntimeError(f"{PAGE} has no place for: {name}")
    return pattern.sub(lambda _: f"{begin}\n\n{content}\n\n{end}", text, count=1)


def _machine() -> Iterator[str]:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pydantic", "httpcore", "h11", "anyio"))
    yield (
        f"Measured on {os.cpu_count()} cores of {platform.machine()} under {platform.system()}, with CPython "
        f"{platform.python_version()}, httpx {version('httpx')}, {libraries}."
    )


def _calls(costs: Costs) -> Iterator[str]:
    names = [each.name for each in client.CONTENDERS]
    yield f"| | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for work, rounds in costs.rounds.items():
        cells = [_cost(costs, work, name) if name in rounds else "" for name in names]
        yield f"| {WORKS[work][0]} | {' | '.join(cells)} |"


def _cost(costs: Costs, work: str, name: str) -> str:
    microseconds = costs.median(work, name) * 1e6
    shown = f"{microseconds:,.0f}" if microseconds >= 100 else f"{microseconds:.1f}"
    return f"**{shown}** ({costs.ratio(work, name, RAW):.2f})" if name == OURS else shown


def _footprints(found: Mapping[str, Footprint]) -> Iterator[str]:
    yield "| | CPU, ms | memory, MiB |"
    yield "|---|---|---|"
    for name, each in found.items():
        yield f"| {name} | {each.seconds * 1000:.0f} | {each.memory / goals.MIB:.0f} |"


def _goals(wanted: list[goals.Goal]) -> Iterator[str]:
    yield "| | measured | at most | |"
    yield "|---|---|---|---|"
    for goal in wanted:
        yield f"| {goal.name} | {goal.value:.3f}{goal.unit} | {goal.most:.3f} | {'met' if goal.met else '**not met**'} |"


if __name__ == "__main__":
    sys.exit(main())
