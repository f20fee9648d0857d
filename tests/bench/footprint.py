"""What it costs to import a client, to build one and to keep many: python -m tests.bench.footprint.

CPU seconds of a whole process of Python, user and system, the median of rounds in which each program has a turn; and its
resident memory at the end.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .client import OURS, contender, surroundings

ROUNDS = 11
URL = "https://api.mistral.ai"
_OURS = f"from mistral_client import MistralClient as Client; make = lambda: Client('key', '{URL}')"
_RAW = "import httpx, pydantic; make = httpx.Client"
_OFFICIAL = "from mistralai.client import Mistral; make = lambda: Mistral(api_key='key')"
_OPENAI = "from openai import OpenAI; make = lambda: OpenAI(api_key='key')"
_OFFICIAL_0 = "from mistralai.client import MistralClient; make = lambda: MistralClient(api_key='key')"
_ONE = "; client = make()"
_MANY = "; clients = [make() for _ in range(1000)]"


class Program(NamedTuple):
    """A line of Python, run in the environment of a contender."""

    contender: str
    line: str


IMPORTS = {
    "a bare interpreter": Program(OURS, "pass"),
    "import httpx, pydantic": Program(OURS, "import httpx, pydantic"),
    "import mistral_client": Program(OURS, "import mistral_client"),
    "mistral_client, and build a client": Program(OURS, _OURS + _ONE),
    "mistralai 0.4.2, and build a client": Program("mistralai 0.4.2", _OFFICIAL_0 + _ONE),
    "mistralai 3.7.0, and build a client": Program("mistralai 3.7.0", _OFFICIAL + _ONE),
    "openai 3.57.0, and build a client": Program("openai 3.57.0", _OPENAI + _ONE),
}
BUILT = {
    "mistral_client": Program(OURS, _OURS + _ONE),
    "httpx and one pydantic model": Program(OURS, f"{_RAW}{_ONE}\nclass Model(pydantic.BaseModel): field: int"),
    "mistralai 3.7.0": Program("mistralai 3.7.0", _OFFICIAL + _ONE),
}
"""Programs whose imports are looked into."""
KEPT = {
    "raw httpx and pydantic, one client": Program(OURS, _RAW + _ONE),
    "raw httpx and pydantic, 1,000 clients": Program(OURS, _RAW + _MANY),
    "mistral_client, 1,000": Program(OURS, _OURS + _MANY),
}


class Footprint(NamedTuple):
    """CPU seconds, and resident bytes at the end."""

    seconds: float
    memory: int


def run(program: Program) -> Footprint:
    """Once, in a process of its own."""
    line = f"{program.line}\nprint(open('/proc/self/statm').read().split()[1])"
    python = contender(program.contender).python()
    process = subprocess.Popen([python, "-c", line], stdout=subprocess.PIPE, text=True, env=surroundings())
    assert process.stdout is not None
    pages = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"failed: {program.line}")
    return Footprint(used.ru_utime + used.ru_stime, int(pages) * os.sysconf("SC_PAGESIZE"))


def measure(programs: Mapping[str, Program], rounds: int = ROUNDS) -> dict[str, Footprint]:
    """The medians; one round before them fills the caches."""
    seen: dict[str, list[Footprint]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            found = run(program)
            if turn:
                seen[name].append(found)
    return {name: _median(all_of_it) for name, all_of_it in seen.items()}


def _median(footprints: Sequence[Footprint]) -> Footprint:
    return Footprint(
        statistics.median(each.seconds for each in footprints),
        round(statistics.median(each.memory for each in footprints)),
    )


def shown(found: Mapping[str, Footprint]) -> Iterator[str]:
    for name, footprint in found.items():
        yield f"  {name:40} {footprint.seconds * 1000:8.0f} ms  {footprint.memory / 2**20:8.1f} MiB"


def main() -> None:
    print("import", *shown(measure(IMPORTS)), "keep", *shown(measure(KEPT, 1)), sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
