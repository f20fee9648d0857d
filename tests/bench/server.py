"""How fast the default Mixtral answers over HTTP and in local mode, beside llama.cpp's own server and the engine itself:
python -m tests.bench.server.

The same file of weights, threads and slots; only one of the contenders answers at a time, and a round gives each a turn.
Figures are medians of rounds, ratios are taken within a round. `transformers serve` has the same weights as a checkpoint
in float16, and takes a minute for what the others do in seconds: it has one round, with nobody else there.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from mistral_client.server.weights import default_model
from mistral_client.server.weights.export import export_safetensors

from ..compat.environments import environment
from ..oracle.__main__ import packages
from ..oracle.transformers_serve import transformers_serve
from ..server.process import Process
from .client import ROOT, SCRIPTS
from .contenders.answers import CONTEXT, SLOTS, THREADS

SERVE = "mistral-client serve"
LOCAL = "local mode"
THEIRS = "llama.cpp's server"
ENGINE = "the engine itself"
TRANSFORMERS = "transformers serve"
NAMES = (THEIRS, SERVE, LOCAL, ENGINE, TRANSFORMERS)
STREAMS = (1, 4, 8)
PROMPTS = ("short", "first turn", "second turn")
TOKENS = 64
ROUNDS = 5

_numbers = count(1000)


@dataclass(frozen=True)
class Answer:
    """times: of its tokens, in seconds from the request."""

    times: list[float]
    text: str


class Reader:
    """Reads answers of a contender, in a process of its own.

    server: the process that answers, where that is another. pids: of both.
    """

    def __init__(self, *arguments: object, server: int | None = None) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "MISTRAL_LOCAL_SLOTS": str(SLOTS),
            "MISTRAL_LOCAL_CONTEXT_LENGTH": str(CONTEXT),
            "MISTRAL_LOCAL_THREADS": str(THREADS),
        }
        self._process = subprocess.Popen(
            [sys.executable, SCRIPTS / "answers.py", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.pids = [self._process.pid, *([] if server is None else [server])]

    def answers(self, conversations: Sequence[Any], tokens: int, temperature: float = 0.0) -> list[Answer]:
        """One for each conversation, all asked for at once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wanted = {"conversations": conversations, "tokens": tokens, "temperature": temperature}
        print(json.dumps(wanted), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a contender broke down; its words are above")
        return [Answer(times, text) for times, text in json.loads(line)]

    def close(self) -> None:
        self._process.communicate()


@contextmanager
def contenders() -> Iterator[dict[str, Reader]]:
    """All of them, ready."""
    path = default_model()
    with ExitStack() as ending:
        server = Process(
            *("--slots", SLOTS, "--context-length", CONTEXT, "--threads", THREADS, "--log-level", "warning"), real=True
        )
        ending.callback(server.end)
        theirs = subprocess.Popen(
            [sys.executable, SCRIPTS / "llama_cpp_server.py", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        ending.callback(theirs.communicate)
        assert theirs.stdout is not None
        address = theirs.stdout.readline().strip()
        readers = {
            SERVE: Reader("http", f"http://127.0.0.1:{server.address[1]}", "mistral-tiny", server=server.popen.pid),
            LOCAL: Reader("local", path),
            THEIRS: Reader("llama.cpp", address, server=theirs.pid),
            ENGINE: Reader("engine", path),
        }
        for reader in readers.values():
            ending.callback(reader.close)
            reader.answers([said("Hello.")], 4)  # loads the model, where that waits for the first request
        yield readers


@contextmanager
def with_transformers() -> Iterator[dict[str, Reader]]:
    """`transformers serve`, ready, as it is: it answers one request after another."""
    python = environment(ROOT / ".oracle" / "environment", packages())
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = export_safetensors(default_model(), Path(folder, "mixtral"), progress=False)
        with (
            transformers_serve(python, checkpoint, Path(folder, "log")) as url,
            closing(Reader("http", url, checkpoint)) as reader,
        ):
            reader.answers([said("Hello.")], 4)
            yield {TRANSFORMERS: reader}


def said(text: str) -> list[dict[str, str]]:
    """A conversation that has not been before, from its first word on: nobody finds its beginning in a cache. Without a
    system message the model's template would add one of its own, and llama.cpp's would not."""
    return [
        {"role": "system", "content": f"{next(_numbers)} questions were answered before this one."},
        {"role": "user", "content": text},
    ]


STORY = "Write a long story about a king who lives in a castle by the sea, and about all that he sees on his travels."
FORTY_TOKENS = "Explain in a few words why the sky is blue at noon and red in the evening, please."
LONG = "Here is a list of things that we have to buy: " + ", ".join(
    f"{number} {thing}" for number, thing in enumerate(("apples", "pears", "plums", "eggs", "onions", "loaves") * 8, 2)
)


@dataclass
class Speeds:
    """Of each contender, round by round: tokens a second by streams, seconds to the first token by prompt."""

    tokens: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    first: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def ratio(self, name: str, streams: int, to: str = THEIRS) -> float:
        """Of the tokens a second; the median of the ratios of the rounds that both had."""
        pairs = zip(self.tokens[name, streams], self.tokens[to, streams], strict=False)
        return statistics.median(one / other for one, other in pairs)

    def tokens_a_second(self, name: str, streams: int) -> float:
        return statistics.median(self.tokens[name, streams])

    def first_token(self, name: str, prompt: str) -> float:
        return statistics.median(self.first[name, prompt])


def measure(rounds: int = ROUNDS) -> Speeds:
    """Everything by everyone."""
    speeds = Speeds()
    with contenders() as readers:
        for _ in range(rounds):
            _round(speeds, readers)
    with with_transformers() as readers:
        _round(speeds, readers)
    return speeds


def _round(speeds: Speeds, readers: Mapping[str, Reader]) -> None:
    for streams in STREAMS:
        for name, reader in readers.items():
            speeds.tokens.setdefault((name, streams), []).append(_tokens_a_second(reader, streams))
    for name, reader in readers.items():
        for prompt, seconds in _first_tokens(reader).items():
            speeds.first.setdefault((name, prompt), []).append(seconds)


def _tokens_a_second(reader: Reader, streams: int) -> float:
    """From the request to the last token, with the reading of the prompts."""
    answers = reader.answers([said(STORY) for _ in range(streams)], TOKENS)
    times = [moment for answer in answers for moment in answer.times]
    return len(times) / max(times)


def _first_tokens(reader: Reader) -> dict[str, float]:
    short = reader.answers([said(FORTY_TOKENS)], 1)[0]
    conversation = said(LONG)
    # Drawn, as a request is that says nothing of it: with temperature 0 each prompt is read as if it were the first.
    first = reader.answers([conversation], 16, 0.7)[0]
    conversation = [
        *conversation,
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "And then?"},
    ]
    second = reader.answers([conversation], 1, 0.7)[0]
    return dict(zip(PROMPTS, (short.times[0], first.times[0], second.times[0]), strict=True))


def shown(speeds: Speeds) -> Iterator[str]:
    for streams in STREAMS:
        yield f"tokens/s, streams: {streams}"
        for name in NAMES:
            yield f"  {name:22} {speeds.tokens_a_second(name, streams):8.1f}  {speeds.ratio(name, streams):6.3f}"
    for prompt in PROMPTS:
        yield f"seconds to the first token, {prompt}"
        for name in NAMES:
            yield f"  {name:22} {speeds.first_token(name, prompt):8.3f}"


if __name__ == "__main__":
    begun = time.perf_counter()
    print(*shown(measure()), sep="\n")
    print(f"{time.perf_counter() - begun:.0f} s")
