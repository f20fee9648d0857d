"""A model made for embeddings, so small that a test can make it: a BERT of two layers with random weights."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

LAYERS, HIDDEN, HEADS, FEED_FORWARD, CONTEXT = 2, 32, 4, 64, 64
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["hello", "world", "the", "printer", "is", "out", "of", "ink", *"abcdefghijklmnopqrstuvwxyz.,!"]
EPSILON = 1e-12


def vocabulary() -> list[str]:
    """WordPiece as llama.cpp has it: ▁ before what begins a word, nothing before what goes on with one."""
    return [*SPECIAL, *(f"▁{word}" for word in WORDS), *"abcdefghijklmnopqrstuvwxyz"]


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """All weights under llama.cpp's names."""
    random = np.random.default_rng(seed)

    def matrix(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)

    def linear(name: str, rows: int, columns: int) -> dict[str, np.ndarray]:
        return {f"{name}.weight": matrix(rows, columns), f"{name}.bias": matrix(rows)}

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}.weight": 1 + matrix(HIDDEN), f"{name}.bias": matrix(HIDDEN)}

    found = {
        "token_embd.weight": matrix(len(vocabulary()), HIDDEN) * 6,
        "position_embd.weight": matrix(CONTEXT, HIDDEN) * 3,
        "token_types.weight": matrix(2, HIDDEN),
        **norm("token_embd_norm"),
    }
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            found |= linear(f"blk.{layer}.{name}", HIDDEN, HIDDEN)
        found |= norm(f"blk.{layer}.attn_output_norm") | norm(f"blk.{layer}.layer_output_norm")
        found |= linear(f"blk.{layer}.ffn_up", FEED_FORWARD, HIDDEN)
        found |= linear(f"blk.{layer}.ffn_down", HIDDEN, FEED_FORWARD)
    return found


def write_gguf(path: Path, seed: int = 0, pooling: gguf.PoolingType = gguf.PoolingType.MEAN) -> Path:
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("Baby BERT")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    writer.add_token_type_count(2)
    writer.add_vocab_size(len(vocabulary()))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary())
    writer.add_token_types([3 if token in SPECIAL else 1 for token in vocabulary()])
    for name, token in (("pad", "[PAD]"), ("unk", "[UNK]"), ("bos", "[CLS]"), ("sep", "[SEP]"), ("mask", "[MASK]")):
        getattr(writer, f"add_{name}_token_id")(SPECIAL.index(token))
    for name, weight in weights(seed).items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def embedded(tokens: list[int], seed: int = 0) -> np.ndarray:
    """The mean of the hidden states by plain arithmetic, in unit norm. https://arxiv.org/abs/1810.04805"""
    weight = {name: value.astype(np.float64) for name, value in weights(seed).items()}

    def linear(name: str, states: np.ndarray) -> np.ndarray:
        return states @ weight[f"{name}.weight"].T + weight[f"{name}.bias"]

    def norm(name: str, states: np.ndarray) -> np.ndarray:
        centred = states - states.mean(1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + EPSILON)
        return scaled * weight[f"{name}.weight"] + weight[f"{name}.bias"]

    states = weight["token_embd.weight"][tokens] + weight["position_embd.weight"][: len(tokens)]
    states = norm("token_embd_norm", states + weight["token_types.weight"][0])
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        query, key, value = (
            linear(f"{block}.attn_{name}", states).reshape(len(tokens), HEADS, -1).swapaxes(0, 1) for name in "qkv"
        )
        scores = query @ key.swapaxes(1, 2) / (HIDDEN // HEADS) ** 0.5
        shares = np.exp(scores - scores.max(2, keepdims=True))
        attended = (shares / shares.sum(2, keepdims=True) @ value).swapaxes(0, 1).reshape(len(tokens), HIDDEN)
        states = norm(f"{block}.attn_output_norm", states + linear(f"{block}.attn_output", attended))
        inner = linear(f"{block}.ffn_up", states)
        inner = 0.5 * inner * (1 + np.tanh((2 / np.pi) ** 0.5 * (inner + 0.044715 * inner**3)))
        states = norm(f"{block}.layer_output_norm", states + linear(f"{block}.ffn_down", inner))
    mean = states.mean(0)
    return mean / np.linalg.norm(mean)
