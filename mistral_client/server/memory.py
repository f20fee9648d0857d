"""How much memory there is to be had."""

from __future__ import annotations

from pathlib import Path

_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
"""Of a container, as it sees itself (control groups, version 2)."""


def available(system: Path = _SYSTEM, group: Path = _GROUP) -> int | None:
    """Bytes that this process can still take before the system has none; None where the system does not tell."""
    found = [value for value in (_of_system(system), _of_group(group)) if value is not None]
    return min(found, default=None)


def _of_system(path: Path) -> int | None:
    values = _values(path)
    return None if "MemAvailable:" not in values else values["MemAvailable:"] * 1024


def _of_group(path: Path) -> int | None:
    try:
        limit, used = (int((path / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # not there, or without a limit: "max"
        return None
    # Pages of files that nobody has used for a while are given up when need be.
    return limit - used + _values(path / "memory.stat").get("inactive_file", 0)


def _values(path: Path) -> dict[str, int]:
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}
