"""What an engine will need to run a model: the context that there is room for, and the memory it takes in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral_client.server import memory
from mistral_client.server.engine import EngineError, MemoryShortError
from mistral_client.server.weights import (
    Checkpoint,
    Header,
    head_size,
    is_embedding_model,
    is_float32,
    key_value_heads,
    parts_of,
)

BATCH = 256
"""At most so many tokens are read at a time: after each batch a listener who left is noticed."""

LEAST_CONTEXT = 8
"""llama.cpp tries a model with two tokens when it loads it; less context than that ends the process."""

DEFAULT_SLOTS = 4
DEFAULT_CONTEXT = 8192

_MAX_SLOTS = 256  # LLAMA_MAX_SEQ


@dataclass(frozen=True, slots=True)
class Needs:
    """How a model is going to run, and the bytes that it takes."""

    context_length: int
    slots: int
    weights: int
    """The files, which are mapped into memory or read."""
    cache: int
    """Keys and values of each token of each slot's context."""
    computation: int
    """What is in hand while a batch is computed."""

    @property
    def bytes(self) -> int:
        return self.weights + self.cache + self.computation


def needs_of(path: Path, header: Header, context_length: int | None = None, slots: int | None = None) -> Needs:
    """What llama.cpp takes with so many slots (None: 4) of so many tokens each (None: what it was trained with, at most
    8192, less where that would take over a quarter of the machine's memory).

    Raises `EngineError` for numbers that llama.cpp or the model cannot do, or that the machine could never hold.
    """
    slots = DEFAULT_SLOTS if slots is None else slots
    if not 1 <= slots <= _MAX_SLOTS:
        raise EngineError(f"1 to {_MAX_SLOTS} slots are needed, not {slots}")
    metadata = header.metadata
    token_bytes = _cached_numbers(metadata) * (4 if is_float32(header) else 2)
    length = _context_length(_size(metadata, "context_length"), token_bytes, context_length, slots)
    experts = _size(metadata, "expert_used_count") or 1
    hidden = _size(metadata, "embedding_length") + experts * _size(metadata, "feed_forward_length")
    needs = Needs(
        length,
        slots,
        weights=sum(part.stat().st_size for part in parts_of(path, header)),
        cache=slots * length * token_bytes,
        # Chiefly the logits of each token, once where they are computed and once where they are handed out, in float32.
        computation=8
        * (length if is_embedding_model(header) else BATCH)
        * (len(metadata["tokenizer.ggml.tokens"]) + hidden),
    )
    _check_machine(path.name, needs)
    return needs


def needs_of_checkpoint(checkpoint: Checkpoint, context_length: int | None = None, slots: int | None = None) -> Needs:
    """The same of Transformers, with so many slots (None: 1).

    Raises `EngineError` for numbers that the model cannot do, or that the machine could never hold.
    """
    slots = 1 if slots is None else slots
    if not 1 <= slots <= _MAX_SLOTS:
        raise EngineError(f"1 to {_MAX_SLOTS} slots are needed, not {slots}")
    config = checkpoint.config
    head = key_value_heads(config) * head_size(config)
    token_bytes = config["num_hidden_layers"] * head * 2 * checkpoint.item_bytes
    length = _context_length(config["max_position_embeddings"], token_bytes, context_length, slots)
    wide = (config.get("num_experts_per_tok") or 1) * (config.get("intermediate_size") or config["hidden_size"])
    needs = Needs(
        length,
        slots,
        weights=checkpoint.weight_bytes,
        cache=slots * length * token_bytes,
        # The logits of one token are shaped and sorted in copies; a batch has its attention and its layers.
        computation=32 * config["vocab_size"]
        + 4 * BATCH * (4 * config["hidden_size"] + 3 * wide + config["num_attention_heads"] * length),
    )
    _check_machine(checkpoint.folder.resolve().name, needs)
    return needs


def _check_machine(name: str, needs: Needs) -> None:
    if needs.bytes > memory.total():
        what = f"{name} with a context of {needs.slots} x {needs.context_length} tokens"
        raise MemoryShortError(what, memory.shown(needs.bytes), memory.shown(memory.total()))


def _context_length(trained: int, token_bytes: int, wanted: int | None, slots: int) -> int:
    """trained: tokens that the model knows. token_bytes: of the cache, for each token; 0 where nobody knows."""
    if wanted is None:
        affordable = memory.total() // 4 // (slots * token_bytes) if token_bytes else DEFAULT_CONTEXT
        return max(LEAST_CONTEXT, min(trained, DEFAULT_CONTEXT, affordable))
    if not LEAST_CONTEXT <= wanted <= trained:
        raise EngineError(
            f"the model was trained with a context of {trained} tokens: {LEAST_CONTEXT} to {trained}, not {wanted}"
        )
    return wanted


def _cached_numbers(metadata: Mapping[str, Any]) -> int:
    """Numbers that one token has in the cache of keys and values; 0 when the header does not tell."""
    heads, layers = _size(metadata, "attention.head_count"), _size(metadata, "block_count")
    key_value_heads = _size(metadata, "attention.head_count_kv", heads)
    if not heads or not key_value_heads:
        return 0
    head = _size(metadata, "embedding_length") // heads
    size = _size(metadata, "attention.key_length", head) + _size(metadata, "attention.value_length", head)
    return layers * key_value_heads * size


def _size(metadata: Mapping[str, Any], name: str, default: int = 0) -> int:
    """A size in the header; 0 where that has one for each layer."""
    value = metadata.get(f"{metadata['general.architecture']}.{name}", default)
    return value if isinstance(value, int) else 0
