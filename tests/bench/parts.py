"""Where the model's time goes, by its parts, and how fast it reads by the size of the batch: python -m tests.bench.parts.

A part's time is found by taking it away: the same weights with fewer experts in use, and with half of the blocks. What
no block takes is the head's: the product with the vocabulary, the choice of a token, and the steps between two. Times are
the least of rounds: differences of two medians would be mostly noise.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import gguf

from mistral_client.server.engine import Sampling
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.weights import default_model

from .contenders.answers import THREADS
from .model import seconds_a_token, texts, use_experts

READ = (1, 4, 12, 24, 48, 96, 192, 256)
ROUNDS = 3
_USED, _ALL = 2, 8


class Parts(NamedTuple):
    """Seconds of a token that is written. one_expert: of those in use, for all blocks."""

    one_expert: float
    attention: float
    head: float


def parts(rounds: int = ROUNDS) -> Parts:
    """Of the default model."""
    dense, sparse, shallow = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        whole, half = _with_blocks(1.0, Path(folder)), _with_blocks(0.5, Path(folder))
        for _ in range(rounds):
            use_experts(whole, _ALL)
            dense.append(seconds_a_token(whole))
            use_experts(whole, _USED)
            sparse.append(seconds_a_token(whole))
            shallow.append(seconds_a_token(half))
    token = min(sparse)
    one_expert = (min(dense) - token) / (_ALL - _USED)
    blocks = 2 * (token - min(shallow))
    return Parts(one_expert, blocks - _USED * one_expert, token - blocks)


def _with_blocks(share: float, folder: Path) -> Path:
    """A copy of the default model with so many of its blocks, from the first."""
    reader = gguf.GGUFReader(default_model())
    count = round(reader.fields["llama.block_count"].contents() * share)
    path = folder / f"{count}.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            value = count if name == "llama.block_count" else field.contents()
            writer.add_key_value(name, value, field.types[0], field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        block = tensor.name.removeprefix("blk.").partition(".")[0]
        if not block.isdecimal() or int(block) < count:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def reading(rounds: int = ROUNDS) -> dict[int, float]:
    """Tokens a second that are read, by how many are read at once: llama.cpp's own times."""
    seen: dict[int, list[float]] = {size: [] for size in READ}
    with LlamaCppEngine(default_model(), slots=1, threads=THREADS, context_length=2048) as engine:
        tokens = engine.tokenize([next(texts())])
        for turn in range(rounds + 1):
            for at, size in enumerate(READ):
                prompt = tokens[100 * at + turn :][:size]
                request = engine._request(prompt, Sampling(max_tokens=1, temperature=0), 1) | {"stream": False}
                timings = engine._server.handle_completions(request)["timings"]
                assert timings["prompt_n"] == size
                if turn:
                    seen[size].append(timings["prompt_per_second"])
    return {size: statistics.median(speeds) for size, speeds in seen.items()}


def shown(found: Parts) -> Iterator[list[str]]:
    """The rows of a table: milliseconds of a token."""
    experts = _USED * found.one_expert
    for name, seconds in {
        "the two experts in use": experts,
        "attention, router and norms": found.attention,
        "head, choice of a token, steps between": found.head,
        "together": experts + found.attention + found.head,
        "for comparison: each further expert": found.one_expert,
    }.items():
        yield [name, f"{seconds * 1e3:.1f}"]


def read(speeds: Mapping[int, float]) -> Iterator[list[str]]:
    """The rows of a table: tokens a second."""
    for size, speed in speeds.items():
        yield [str(size), f"{speed:.0f}"]


def main() -> None:
    print(*shown(parts()), *read(reading()), sep="\n")


if __name__ == "__main__":
    main()
