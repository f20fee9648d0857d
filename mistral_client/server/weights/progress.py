"""Progress bars on standard error."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def is_wanted(progress: bool | None) -> bool:
    """`None` asks for bars where a person can see them: when standard error is a terminal."""
    if progress is None:
        return sys.stderr is not None and sys.stderr.isatty()
    return progress


def say(line: str) -> None:
    """One line for a person who waits."""
    if sys.stderr is not None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


@contextmanager
def bar(title: str, total: int, *, shown: bool, unit: str = "B") -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many bytes, or what else is the unit, are done so far, out of `total`."""
    if not shown:
        yield lambda _done: None
        return
    from tqdm import tqdm  # noqa: PLC0415  # only where somebody looks

    # Not left to tqdm, which draws nothing on a terminal that gives no size.
    columns, rows = shutil.get_terminal_size()
    with tqdm(desc=title, total=total, unit=unit, unit_scale=True, file=sys.stderr, ncols=columns, nrows=rows) as meter:

        def done(count: int) -> None:
            meter.update(max(0, min(count, total) - meter.n))

        yield done
