"""Choosing the next token. Pure: numbers in, a token id out."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mistral_client.server.engine import LEAST_LOGPROB, EngineError, Sampling

Logits = NDArray[np.float32]
"""A number for each token of the vocabulary."""


class Sampler:
    """Chooses the tokens of one generation, with llama.cpp's samplers in the order in which its engine runs them:
    penalties, which count the tokens of the prompt as well, temperature, top-k, top-p.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        seed = sampling.random_seed
        self._random = np.random.default_rng(secrets.randbits(64) if seed is None else seed % 2**64)
        self._counts: dict[int, int] = {}
        for token in prompt:
            self._count(token)

    def choose(self, logits: Logits) -> int:
        """The next token. Raises `EngineError` where the numbers are none."""
        penalised = self._penalised(logits)
        best = int(penalised.argmax())  # NaN counts as the largest
        if not np.isfinite(penalised[best]):
            raise EngineError("the model computed numbers that are none; its weights may be damaged")
        token = best if self._sampling.temperature <= 0 else self._draw(penalised - penalised[best])
        self._count(token)
        return token

    def _count(self, token: int) -> None:
        self._counts[token] = self._counts.get(token, 0) + 1

    def _penalised(self, logits: Logits) -> NDArray[np.float64]:
        penalised = logits.astype(np.float64)
        asked = self._sampling
        if asked.repetition_penalty == 1 and not asked.frequency_penalty and not asked.presence_penalty:
            return penalised
        tokens = np.fromiter(self._counts.keys(), np.int64)
        counts = np.fromiter(self._counts.values(), np.float64)
        those = penalised[tokens]
        those = np.where(those > 0, those / asked.repetition_penalty, those * asked.repetition_penalty)
        penalised[tokens] = those - counts * asked.frequency_penalty - asked.presence_penalty
        return penalised

    def _draw(self, logits: NDArray[np.float64]) -> int:
        """logits: shifted so that the largest is 0."""
        asked = self._sampling
        with np.errstate(over="ignore", under="ignore"):
            weights = np.exp(logits / asked.temperature)
        tokens = np.arange(len(weights))
        if 0 < asked.top_k < len(weights) or asked.top_p < 1:
            # Equal ones in the order of the vocabulary.
            tokens = np.argsort(-weights, kind="stable")
            tokens = tokens[: asked.top_k] if asked.top_k > 0 else tokens
            sums = np.cumsum(weights[tokens])
            # As many as it takes to reach top_p, at least one.
            tokens = tokens[: int(np.searchsorted(sums, asked.top_p * sums[-1])) + 1]
        sums = np.cumsum(weights[tokens])
        place = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        return int(tokens[min(place, len(tokens) - 1)])


def logprobs(logits: Logits, token: int, alternatives: int) -> tuple[float, list[tuple[int, float]]]:
    """The log-probability of a token, and the likeliest tokens with theirs, the likeliest first."""
    shifted = logits.astype(np.float64) - float(logits.max())
    shifted -= np.log(np.exp(shifted).sum())
    values = np.maximum(shifted, LEAST_LOGPROB)
    if not alternatives:
        return float(values[token]), []
    kept = min(alternatives, len(values))
    likeliest = np.argpartition(-values, kept - 1)[:kept]
    likeliest = likeliest[np.lexsort((likeliest, -values[likeliest]))]
    return float(values[token]), [(int(other), float(values[other])) for other in likeliest]
