"""How much memory there is: that of the machine, or of the container that this process runs in."""

from __future__ import annotations

from pathlib import Path

import psutil

_GROUP = Path("/sys/fs/cgroup")
"""Of a container, as it sees itself. https://docs.kernel.org/admin-guide/cgroup-v2.html#memory"""


def total(group: Path = _GROUP) -> int:
    """Bytes that there are in all."""
    machine: int = psutil.virtual_memory().total
    return min(machine, _number(group / "memory.max") or machine)


def available(group: Path = _GROUP) -> int:
    """Bytes that this process can still take before the system has none."""
    machine: int = psutil.virtual_memory().available
    limit, used = _number(group / "memory.max"), _number(group / "memory.current")
    if limit is None or used is None:
        return machine
    # Pages of files that nobody has used for a while are given up when need be.
    files = [line.split()[1] for line in _text(group / "memory.stat").splitlines() if line.startswith("inactive_file ")]
    return max(0, min(machine, limit - used + sum(map(int, files))))


def shown(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None  # not there, or without a limit: "max"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
