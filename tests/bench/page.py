"""docs/performance.md: what stands between its marks is replaced by what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests import marks
from tests.marks import table

from .goals import Goal

__all__ = ["PAGE", "fill", "goals", "table"]

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def fill(sections: Mapping[str, Iterable[str]]) -> None:
    """Write lines into the page's places of these names."""
    marks.fill(PAGE, sections)


def goals(wanted: Iterable[Goal]) -> Iterator[str]:
    """One line for each."""
    rows = ([goal.name, f"{goal.value:.3f}{goal.unit}", goal.wanted, _verdict(goal)] for goal in wanted)
    return table(["", "measured", "goal", ""], rows)


def _verdict(goal: Goal) -> str:
    return "met" if goal.met else "**not met**"
