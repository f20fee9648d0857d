"""docs/performance.md: what stands between its marks is replaced by what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import wrap

from tests import marks
from tests.marks import table

from .goals import Goal, reached

__all__ = ["PAGE", "fill", "goals", "table"]

WIDTH = 120
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def fill(sections: Mapping[str, Iterable[str]]) -> None:
    """Write lines into the page's places of these names."""
    marks.fill(PAGE, sections)


def goals(wanted: Sequence[Goal]) -> Iterator[str]:
    """One line for each, and then what keeps those that are not met from it."""
    rows = ([goal.name, f"{goal.value:.3f}{goal.unit}", goal.wanted, _verdict(goal)] for goal in wanted)
    yield from table(["", "measured", "goal", ""], rows)
    limits = reached(wanted)
    if limits:
        yield from ("", "What is not met, and why:", "")
        for limit in limits:
            yield from wrap(str(limit), WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _verdict(goal: Goal) -> str:
    return "met" if goal.met else "**not met**"
