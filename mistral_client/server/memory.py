"""How much memory there is for models: that of the machine, or of the container that this process runs in."""

from __future__ import annotations

from pathlib import Path

import psutil

_CONTAINER = Path("/sys/fs/cgroup")
"""Of a process in a container this is its own group. https://docs.kernel.org/admin-guide/cgroup-v2.html#memory"""


def total() -> int:
    """Bytes that there are in all."""
    machine: int = psutil.virtual_memory().total
    return min(machine, _container_limit() or machine)


def available() -> int:
    """Bytes that can be taken now without pushing others out; what the system only caches is free to take."""
    machine: int = psutil.virtual_memory().available
    limit, used = _container_limit(), _number("memory.current")
    if limit is None or used is None:
        return machine
    cached = next((int(line.split()[1]) for line in _lines("memory.stat") if line.startswith("inactive_file ")), 0)
    return max(0, min(machine, limit - used + cached))


def shown(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def _container_limit() -> int | None:
    return _number("memory.max")


def _number(name: str) -> int | None:
    text = "".join(_lines(name))
    return int(text) if text.isdecimal() else None


def _lines(name: str) -> list[str]:
    try:
        return (_CONTAINER / name).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
