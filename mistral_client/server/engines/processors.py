"""How many processors there are to compute with."""

from __future__ import annotations

import os
from collections.abc import Callable


def processors() -> int:
    """Those that this process may use."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
