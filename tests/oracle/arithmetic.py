"""A Mixtral in plain arithmetic, in float64, as the paper has it. https://arxiv.org/abs/2401.04088"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


class Mixtral:
    """config: that of a checkpoint. weights: its tensors by name."""

    def __init__(self, config: dict[str, Any], weights: dict[str, Any]) -> None:
        self.config = config
        self.weights = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}

    def logits(self, tokens: list[int]) -> Array:
        """Of each token the logits of the one after it."""
        hidden = self.weights["model.embed_tokens.weight"][tokens]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            hidden = hidden + self.attention(name, self.norm(hidden, f"{name}.input_layernorm"))
            hidden = hidden + self.experts(name, self.norm(hidden, f"{name}.post_attention_layernorm"))
        return self.norm(hidden, "model.norm") @ self.weights["lm_head.weight"].T

    def norm(self, hidden: Array, name: str) -> Array:
        mean_square = (hidden**2).mean(-1, keepdims=True)
        return hidden / np.sqrt(mean_square + self.config["rms_norm_eps"]) * self.weights[f"{name}.weight"]

    def attention(self, name: str, hidden: Array) -> Array:
        heads, shared = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        length = len(hidden)

        def projected(part: str, count: int) -> Array:
            weight = self.weights[f"{name}.self_attn.{part}_proj.weight"]
            return (hidden @ weight.T).reshape(length, count, -1).swapaxes(0, 1)

        queries, keys = self.turned(projected("q", heads)), self.turned(projected("k", shared))
        values = projected("v", shared)
        seen = np.empty_like(queries)
        for head in range(heads):
            group = head * shared // heads
            scores = queries[head] @ keys[group].T / np.sqrt(queries.shape[-1])
            scores[np.triu_indices(length, 1)] = -np.inf
            seen[head] = softmax(scores) @ values[group]
        return seen.swapaxes(0, 1).reshape(length, -1) @ self.weights[f"{name}.self_attn.o_proj.weight"].T

    def turned(self, heads: Array) -> Array:
        """Number i and number i + half are turned together, by their position times base^(-i / half)."""
        _, length, size = heads.shape
        half = size // 2
        angles = np.outer(np.arange(length), self.config["rope_theta"] ** -(np.arange(half) / half))
        first, second = heads[..., :half], heads[..., half:]
        cosine, sine = np.cos(angles), np.sin(angles)
        return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], -1)

    def routed(self, name: str, hidden: Array) -> tuple[Array, Array]:
        """Of each token the experts that are used, the likeliest first, and the shares that they have in it."""
        shares = softmax(hidden @ self.weights[f"{name}.block_sparse_moe.gate.weight"].T)
        chosen = np.argsort(-shares, axis=-1)[:, : self.config["num_experts_per_tok"]]
        kept = np.take_along_axis(shares, chosen, -1)
        return chosen, kept / kept.sum(-1, keepdims=True)

    def experts(self, name: str, hidden: Array) -> Array:
        total = np.zeros_like(hidden)
        for position, (chosen, shares) in enumerate(zip(*self.routed(name, hidden), strict=True)):
            for expert, share in zip(chosen, shares, strict=True):
                weights = f"{name}.block_sparse_moe.experts.{expert}"
                gate, up = (self.weights[f"{weights}.{part}.weight"] @ hidden[position] for part in ("w1", "w3"))
                total[position] += share * (self.weights[f"{weights}.w2.weight"] @ (gate / (1 + np.exp(-gate)) * up))
        return total


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
