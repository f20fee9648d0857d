"""What calls cost the caller, ours beside others': python -m tests.bench.client [WORK ...].

Each contender runs in an environment of its own below .bench, against a server of fixed bytes in another process. A
round gives each a turn, so that whatever else the machine does meets all of them; CPU seconds of the contender's process
for each unit, the median of the rounds. The ratio is to raw httpx in the same round, and its median.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..compat.environments import environment
from .canned import canned

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".bench"
SCRIPTS = Path(__file__).with_name("contenders")
RAW = "raw httpx"
OURS = "mistral_client"
OVER_AIOHTTP = "mistral_client over aiohttp"
AIOHTTP = "raw aiohttp"
ROUNDS = 9


def _dependencies() -> tuple[str, ...]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return tuple(project["dependencies"])


@dataclass(frozen=True)
class Contender:
    """arguments: of the script, after the server's address."""

    name: str
    packages: tuple[str, ...]
    script: str
    arguments: tuple[str, ...] = ()

    def python(self) -> Path:
        return environment(FOLDER / self.name.replace(" ", "-"), self.packages)


def surroundings() -> dict[str, str]:
    """The environment variables of a contender: this project can be imported, and nothing is set that changes a client."""
    told = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ}
    return told | {"PYTHONPATH": str(ROOT)}


CONTENDERS = (
    Contender(RAW, ("httpx==0.28.1",), "raw_httpx"),
    # Its run-time dependencies and no more: httpcore imports trio where it is installed.
    Contender(OURS, _dependencies(), "ours"),
    Contender(AIOHTTP, ("aiohttp==3.14.5",), "raw_aiohttp"),
    Contender(OVER_AIOHTTP, (*_dependencies(), "aiohttp==3.14.5", "httpx-aiohttp==0.2.0"), "ours_aiohttp"),
    Contender("mistralai 0.4.2", ("mistralai==0.4.2",), "with_mistralai_0"),
    Contender("mistralai 3.7.0", ("mistralai==3.7.0",), "with_mistralai"),
    Contender("openai 3.57.0", ("openai==3.57.0",), "with_openai", ("openai", "OpenAI")),
    Contender("groq 1.7.0", ("groq==1.7.0",), "with_openai", ("groq", "Groq")),
)


def contender(name: str) -> Contender:
    """The contender of this name."""
    return next(each for each in CONTENDERS if each.name == name)


WORKS = {
    "chat": ("a chat call", 100),
    "long_chat": ("a chat call, 101 messages, an answer of 8,000 characters", 30),
    "hundred_messages": ("a chat call, 101 messages", 30),
    "thousand_messages": ("a chat call, 1,001 messages", 6),
    "stream": ("a chunk of a stream of 500", 6),
    "long_stream": ("a chunk of a stream of 5,000", 1),
    "lumps": ("a chunk of a stream of 500, in HTTP chunks of 16 KiB", 10),
    "async_stream": ("a chunk of a stream of 500, async", 6),
    "streams_at_once": ("a chunk, 20 streams at once", 1),
    "chats_at_once": ("a chat call, 50 at once", 4),
    "embed_floats": ("64 vectors as JSON", 4),
    "embed_base64": ("64 vectors as base64", 10),
}
"""What each is called, and how often it is done in a round: some tenths of a second of the slower ones."""


class Running:
    """A contender at work. works: the names of those that it has."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._asked, self._said = process.stdin, process.stdout
        self.works: list[str] = json.loads(self._line())

    def cost(self, work: str, count: int) -> float:
        """CPU seconds for each unit."""
        print(work, count, file=self._asked, flush=True)
        seconds, units = json.loads(self._line())
        return float(seconds / units)

    def _line(self) -> str:
        line = self._said.readline()
        if not line:
            raise RuntimeError("a contender broke down; its words are above")
        return line


@contextmanager
def running(contender: Contender, url: str) -> Iterator[Running]:
    """The contender in a process of its own, which ends with the block."""
    script = SCRIPTS / f"{contender.script}.py"
    process = subprocess.Popen(
        [contender.python(), script, url, *contender.arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=surroundings(),
    )
    try:
        yield Running(process)
    finally:
        process.terminate()
        process.communicate()


@dataclass
class Costs:
    """CPU seconds for a unit of each work, by contender, round by round."""

    rounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def median(self, work: str, name: str) -> float:
        return statistics.median(self.rounds[work][name])

    def ratio(self, work: str, name: str, to: str) -> float:
        """The median of the ratios within the rounds."""
        pairs = zip(self.rounds[work][name], self.rounds[work][to], strict=True)
        return statistics.median(one / other for one, other in pairs)


def measure(works: Sequence[str], rounds: int = ROUNDS) -> Costs:
    """Every work by every contender that has it."""
    costs = Costs()
    with canned() as url, ExitStack() as ending:
        here = {each.name: ending.enter_context(running(each, url)) for each in CONTENDERS}
        for work in works:
            count = WORKS[work][1]
            able = {name: one for name, one in here.items() if work in one.works}
            costs.rounds[work] = {name: [] for name in able}
            for one in able.values():
                one.cost(work, 1)  # connections, caches
            for _ in range(rounds):
                for name, one in able.items():
                    costs.rounds[work][name].append(one.cost(work, count))
            print(*shown(costs, work), sep="\n", flush=True)
    return costs


def shown(costs: Costs, work: str) -> Iterator[str]:
    yield WORKS[work][0]
    for name in costs.rounds[work]:
        reference = RAW if RAW in costs.rounds[work] else name
        ratio = costs.ratio(work, name, reference)
        yield f"  {name:18} {costs.median(work, name) * 1e6:10.1f} µs  {ratio:8.2f}"


if __name__ == "__main__":
    measure(sys.argv[1:] or list(WORKS))
