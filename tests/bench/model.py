"""The default model itself: what its layout costs in perplexity, and what sparseness is worth: python -m tests.bench.model.

Perplexity is that of the answers' model against the dense one it was made of, on text that every Python brings along:
the sections of its language reference in `pydoc_data.topics` and the sentences of tests/server/triplets.json, 480 tokens
of each, of which the first 32 are only read.
"""

from __future__ import annotations

import math
import pydoc_data.topics
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gguf

from mistral_client.server.engine import Sampling
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.weights import default_model, read_header, smollm2

from ..server.test_triplets import TRIPLETS
from .contenders.answers import THREADS

_READ_ONLY = 32
_LENGTH = 480
_TOPICS = ("try", "with", "identifiers", "typesmapping")
EXPERTS = range(1, 9)


def texts() -> Iterator[str]:
    yield " ".join(pydoc_data.topics.topics[name] for name in _TOPICS)
    triplets = [triplet for kind in TRIPLETS.values() for topic in kind.values() for triplet in topic]
    yield " ".join(text for triplet in triplets for text in triplet)


def perplexity(path: Path) -> float:
    """Token by token: each is the only one that may be drawn, and its log-probability is that before this bias."""
    logprobs = []
    with LlamaCppEngine(path, slots=1, threads=THREADS, context_length=_LENGTH) as engine:
        for text in texts():
            tokens = engine.tokenize([text])[:_LENGTH]
            logprobs += [_logprob(engine, tokens[:end], tokens[end]) for end in range(_READ_ONLY, len(tokens))]
    return math.exp(-math.fsum(logprobs) / len(logprobs))


def _logprob(engine: LlamaCppEngine, prompt: list[int], token: int) -> float:
    request = {
        "prompt": prompt,
        "n_predict": 1,
        "temperature": 0,
        "samplers": ["temperature"],
        "logit_bias": [[token, 1000.0]],
        "n_probs": 1,
        "cache_prompt": True,
    }
    drawn = engine._server.handle_completions(request)["choices"][0]["logprobs"]["content"][0]
    assert drawn["id"] == token
    return float(drawn["logprob"])


@dataclass(frozen=True)
class Sparse:
    """The default model with so many of its experts in use. Parameters are of the whole network with its embeddings."""

    experts: int
    tokens_a_second: float
    active: int
    total: int


def sparse(rounds: int = 3) -> list[Sparse]:
    """The same weights with 1 to 8 experts in use; rounds in turn, as everywhere."""
    found: dict[int, list[float]] = {used: [] for used in EXPERTS}
    with _copy() as path:
        for _ in range(rounds):
            for used in EXPERTS:
                use_experts(path, used)
                found[used].append(1 / seconds_a_token(path))
        header = read_header(path)
    sizes = {tensor.name: math.prod(tensor.shape) for tensor in header.tensors}
    total, of_experts = sum(sizes.values()), sum(size for name, size in sizes.items() if "_exps." in name)
    return [
        Sparse(used, statistics.median(found[used]), total - of_experts * (8 - used) // 8, total) for used in EXPERTS
    ]


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copy(default_model(), folder))


def use_experts(path: Path, experts: int) -> None:
    """Have a model file say that it uses so many for each token."""
    reader = gguf.GGUFReader(path, "r+")
    field = reader.fields["llama.expert_used_count"]
    field.parts[field.data[0]][:] = experts
    reader.data.flush()


def seconds_a_token(path: Path, tokens: int = 64) -> float:
    """Between the tokens of one answer."""
    times: list[float] = []
    with LlamaCppEngine(path, slots=1, threads=THREADS, context_length=256) as engine:
        prompt = engine.tokenize(["Once upon a time there was a king who lived in a castle by the sea, and"])
        sampling = Sampling(max_tokens=tokens, temperature=0)
        engine.generate(prompt, sampling, lambda _piece: times.append(time.perf_counter()) or False)
    return (times[-1] - times[0]) / (len(times) - 1)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        dense = perplexity(smollm2.fetch(Path(folder), shown=False))
    print(f"perplexity {perplexity(default_model()):.4f}, of the dense model {dense:.4f}")
    for each in sparse():
        print(f"{each.experts} of 8 experts: {each.tokens_a_second:6.1f} tokens/s, {each.active / 1e6:.0f}M parameters")


if __name__ == "__main__":
    main()
