"""Where the time and the memory of having a client go, library by library: python -m tests.bench.imports.

CPU seconds of each module's own code and the memory that became resident meanwhile, of processes that import and build
a client; medians of rounds in which each program has a turn.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from .client import SCRIPTS, contender, surroundings
from .footprint import BUILT, ROUNDS, Program

REST = "building a client, and the rest"
TOGETHER = "together"
_NAMES = {
    "(interpreter)": "the interpreter",
    "(certificates)": "certificates for TLS",
    "(rest)": REST,
    "asyncio": "asyncio",
    "httpx": "httpx",
    "httpx2": "httpx",
    "idna": "httpx",
    "httpcore": "httpcore",
    "httpcore2": "httpcore",
    "h11": "h11",
    "anyio": "anyio",
    "sniffio": "anyio",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic",
    "annotated_types": "pydantic",
    "typing_extensions": "pydantic",
    "typing_inspection": "pydantic",
    "certifi": "certificates for TLS",
}
"""Of what is a row of its own, and not of the standard library, the client or another library."""
_STANDARD, _OTHERS = "the rest of the standard library", "other libraries"
_TYPES, _VALIDATORS, _OWN = "types of the wire", "their validators", "the client's other modules"
ROWS = (
    *("the interpreter", _STANDARD, "asyncio", "httpx", "httpcore", "h11", "anyio", "certificates for TLS", "pydantic"),
    *(_OTHERS, _TYPES, _VALIDATORS, _OWN, REST),
)


class Share(NamedTuple):
    """CPU seconds and resident bytes."""

    seconds: float
    memory: float


def row_of(name: str) -> str:
    """The row of the table to which a module belongs, or one of the names in brackets of contenders/imports.py."""
    if name.startswith("(validators)"):
        return _VALIDATORS
    package = name.partition(".")[0]
    if package in _NAMES:
        return _NAMES[package]
    if package in {"mistral_client", "mistralai"}:
        return _TYPES if ".models" in name else _OWN
    return _STANDARD if package in sys.stdlib_module_names else _OTHERS


def measure(programs: Mapping[str, Program] = BUILT, rounds: int = ROUNDS) -> dict[str, dict[str, Share]]:
    """Of each program the shares of its rows; one round before the others fills the caches."""
    seen: dict[str, list[dict[str, Share]]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            found = _run(program)
            if turn:
                seen[name].append(found)
    return {name: {row: _median(turn[row] for turn in turns) for row in ROWS} for name, turns in seen.items()}


def _run(program: Program) -> dict[str, Share]:
    command = [contender(program.contender).python(), SCRIPTS / "imports.py", program.line]
    output = subprocess.run(command, env=surroundings(), stdout=subprocess.PIPE, check=True).stdout
    found = dict.fromkeys(ROWS, Share(0.0, 0.0))
    for name, (seconds, memory) in json.loads(output).items():
        row = row_of(name)
        found[row] = Share(found[row].seconds + seconds, found[row].memory + memory)
    return found


def _median(shares: Iterable[Share]) -> Share:
    return Share(*map(statistics.median, zip(*shares, strict=True)))


def shown(found: Mapping[str, Mapping[str, Share]]) -> Iterator[list[str]]:
    """The rows of a table: milliseconds and MiB of each program."""
    for row in ROWS:
        yield [row, *(cell for name in found for cell in _cells(found[name][row]))]
    sums = [Share(*map(sum, zip(*found[name].values(), strict=True))) for name in found]
    yield [TOGETHER, *(cell for each in sums for cell in _cells(each))]


def _cells(share: Share) -> tuple[str, str]:
    return f"{share.seconds * 1000:.1f}", f"{share.memory / 2**20:.1f}"


def main() -> None:
    found = measure()
    print(*found)
    for name, *cells in shown(found):
        print(f"{name:35}", *(f"{cell:>9}" for cell in cells))


if __name__ == "__main__":
    main()
