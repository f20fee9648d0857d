"""What llama.cpp will need to run a model file: the context that there is room for, and the memory it takes in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral_client.server import memory
from mistral_client.server.engine import EngineError, MemoryShortError
from mistral_client.server.weights import Header, parts_of

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
    """The files, which are mapped into memory."""
    cache: int
    """Keys and values of each token of each slot's context, in float16."""
    computation: int
    """What is in hand while a batch is computed: chiefly the logits of each of its tokens, once where they are computed
    and once where they are handed out, in float32."""

    @property
    def bytes(self) -> int:
        return self.weights + self.cache + self.computation


def needs_of(path: Path, header: Header, context_length: int | None = None, slots: int | None = None) -> Needs:
    """What the model takes with so many slots (None: 4) of so many tokens each (None: what it was trained with, at most
    8192, less where that would take over a quarter of the machine's memory).

    Raises `EngineError` for numbers that llama.cpp or the model cannot do, or that the machine could never hold.
    """
    slots = DEFAULT_SLOTS if slots is None else slots
    if not 1 <= slots <= _MAX_SLOTS:
        raise EngineError(f"1 to {_MAX_SLOTS} slots are needed, not {slots}")
    metadata = header.metadata
    length = _context_length(metadata, context_length, slots)
    experts = _size(metadata, "expert_used_count") or 1
    hidden = _size(metadata, "embedding_length") + experts * _size(metadata, "feed_forward_length")
    found = Needs(
        length,
        slots,
        weights=sum(part.stat().st_size for part in parts_of(path, header)),
        cache=slots * length * _token_bytes(metadata),
        computation=8 * BATCH * (len(metadata["tokenizer.ggml.tokens"]) + hidden),
    )
    if found.bytes > memory.total():
        what = f"{path.name} with a context of {slots} x {length} tokens"
        raise MemoryShortError(what, memory.shown(found.bytes), memory.shown(memory.total()))
    return found


def _context_length(metadata: Mapping[str, Any], wanted: int | None, slots: int) -> int:
    trained = _size(metadata, "context_length")
    if wanted is None:
        token_bytes = _token_bytes(metadata)
        affordable = memory.total() // 4 // (slots * token_bytes) if token_bytes else DEFAULT_CONTEXT
        return max(LEAST_CONTEXT, min(trained, DEFAULT_CONTEXT, affordable))
    if not LEAST_CONTEXT <= wanted <= trained:
        raise EngineError(
            f"the model was trained with a context of {trained} tokens: {LEAST_CONTEXT} to {trained}, not {wanted}"
        )
    return wanted


def _token_bytes(metadata: Mapping[str, Any]) -> int:
    """Bytes that one token takes in the cache of keys and values, in float16; 0 when the header does not tell."""
    heads, layers = _size(metadata, "attention.head_count"), _size(metadata, "block_count")
    key_value_heads = _size(metadata, "attention.head_count_kv", heads)
    if not heads or not key_value_heads:
        return 0
    head = _size(metadata, "embedding_length") // heads
    size = _size(metadata, "attention.key_length", head) + _size(metadata, "attention.value_length", head)
    return layers * key_value_heads * size * 2


def _size(metadata: Mapping[str, Any], name: str, default: int = 0) -> int:
    """A size in the header; 0 where that has one for each layer."""
    value = metadata.get(f"{metadata['general.architecture']}.{name}", default)
    return value if isinstance(value, int) else 0
