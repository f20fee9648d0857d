"""docs/performance.md: what stands between its marks is replaced by what was measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .goals import Goal

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def fill(sections: Mapping[str, Iterable[str]]) -> None:
    """Write lines into the page's places of these names."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in sections.items():
        text = _filled(text, name, "\n".join(lines))
    PAGE.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """In Markdown."""
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def goals(wanted: Iterable[Goal]) -> Iterator[str]:
    """One line for each."""
    rows = ([goal.name, f"{goal.value:.3f}{goal.unit}", goal.wanted, _verdict(goal)] for goal in wanted)
    return table(["", "measured", "goal", ""], rows)


def _verdict(goal: Goal) -> str:
    return "met" if goal.met else "**not met**"


def _filled(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise RuntimeError(f"{PAGE} has no place for: {name}")
    return pattern.sub(lambda _: f"{begin}\n\n{content}\n\n{end}", text, count=1)
