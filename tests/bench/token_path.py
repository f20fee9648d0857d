"""What a token costs on its way from llama.cpp to its reader, step by step: python -m tests.bench.token_path.

Milliseconds from one token to the next, which are those of answers of many tokens less those of answers of one; and
beside them processor time of all threads of the server and of the reader but those that compute.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from mistral_client.server.weights import default_model

from .contenders.answers import THREADS
from .server import ENGINE, LOCAL, SERVE, STORY, THEIRS, Reader, contenders, said

STREAMS = (1, 8)
TOKENS = 32
ROUNDS = 3
STEPS = {
    "native": "llama.cpp in this process, its text at the end",
    "callback": "with a callback for each token, which does nothing",
    ENGINE: "our engine, read in another thread",
    LOCAL: "local mode, read by the client",
    SERVE: "mistral-client serve, read over HTTP",
    THEIRS: "llama.cpp's server, read over HTTP",
}


class Cost(NamedTuple):
    """Seconds for a token of one stream: until it is there, and of processors beside the computing."""

    until: float
    beside: float


def measure(rounds: int = ROUNDS) -> dict[tuple[str, int], Cost]:
    """The costs by step and number of streams."""
    seen: dict[tuple[str, int], list[Cost]] = {}
    with contenders() as readers, ExitStack() as ending:
        for name in ("native", "callback"):
            readers[name] = Reader(name, default_model())
            ending.callback(readers[name].close)
            readers[name].answers([said("Hello.")], 4)
        for _ in range(rounds):
            for streams in STREAMS:
                for name in STEPS:
                    seen.setdefault((name, streams), []).append(_cost(readers[name], streams))
    return {key: Cost(*map(statistics.median, zip(*costs, strict=True))) for key, costs in seen.items()}


def _cost(reader: Reader, streams: int) -> Cost:
    one, many = _taken(reader, streams, 1), _taken(reader, streams, 1 + TOKENS)
    return Cost((many.until - one.until) / TOKENS, (many.beside - one.beside) / TOKENS / streams)


def _taken(reader: Reader, streams: int, tokens: int) -> Cost:
    """By answers of so many tokens."""
    processes, threads = _processes(reader.pids), _threads(reader.pids)
    answers = reader.answers([said(STORY) for _ in range(streams)], tokens)
    ran = sorted(then - threads.get(thread, 0.0) for thread, then in _threads(reader.pids).items())
    beside = _processes(reader.pids) - processes - sum(ran[-THREADS:])
    return Cost(max(answer.times[-1] for answer in answers), beside)


def _processes(pids: Sequence[int]) -> float:
    """CPU seconds of processes with all their threads, those that have ended too."""
    # The clock of another process: https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def _threads(pids: Sequence[int]) -> dict[str, float]:
    """CPU seconds of each thread of processes."""
    found = {}
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                nanoseconds = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]
                found[thread] = int(nanoseconds) / 1e9
    return found


def shown(costs: Mapping[tuple[str, int], Cost]) -> Iterator[list[str]]:
    """The rows of a table: milliseconds until the next token, and beside, by streams."""
    for name, described in STEPS.items():
        here = [costs[name, streams] for streams in STREAMS]
        yield [described, *(f"{each.until * 1e3:.1f}" for each in here), *(f"{each.beside * 1e3:.2f}" for each in here)]


def main() -> None:
    for name, *cells in shown(measure()):
        print(f"{name:55}", *(f"{cell:>8}" for cell in cells))


if __name__ == "__main__":
    main()
