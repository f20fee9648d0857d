"""Pages some parts of which are made: what stands between marks is replaced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path


def fill(page: Path, sections: Mapping[str, Iterable[str]]) -> None:
    """Write lines into the page's places of these names."""
    text = page.read_text(encoding="utf-8")
    for name, lines in sections.items():
        text = _filled(page, text, name, "\n".join(lines))
    page.write_text(text, encoding="utf-8")


def between(page: Path, name: str) -> str:
    """What stands in the place of this name."""
    begin, end = _marks(name)
    return page.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip("\n")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """In Markdown."""
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- end of {name} -->"


def _filled(page: Path, text: str, name: str, content: str) -> str:
    begin, end = _marks(name)
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise RuntimeError(f"{page} has no place for: {name}")
    return pattern.sub(lambda _: f"{begin}\n\n{content}\n\n{end}", text, count=1)
