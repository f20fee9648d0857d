"""What all vectors of a causal model have in common, taken out of them, so that their cosines tell texts apart.

Means of hidden states point in nearly the same direction whatever the text, and a few of their dimensions are far
larger than the rest, so that these alone decide a cosine. Each number less its mean over some sentences, and divided by
its deviation there, has neither.

Mu and Viswanath, 2018, https://arxiv.org/abs/1702.01417. Timkey and van Schijndel, 2021,
https://arxiv.org/abs/2109.04404.
"""

from __future__ import annotations

import anyio
import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from .engine import Engine

SENTENCES = (
    "The library closes at eight o'clock in the evening.",
    "My brother is two years older than I am.",
    "The river flooded the valley last spring.",
    "A large dog was sleeping in front of the door.",
    "The government announced a new law on housing.",
    "She played the piano until it was dark outside.",
    "Most birds build their nests in trees.",
    "I do not agree with what you said yesterday.",
    "The war ended after almost thirty years.",
    "Please close the window, it is getting cold.",
    "The children were looking for shells on the shore.",
    "He painted the walls of his room bright blue.",
    "Light travels faster than sound.",
    "The judge asked the witness to speak more clearly.",
    "We have lived in this street since we were married.",
    "What time does the concert begin?",
)
"""Plain sentences about this and that. More of them changed nothing that could be measured."""


class CommonDirection:
    """That of one model. It is found when it is first wanted, which takes the time to read sixteen sentences."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: list[list[float]] = []
        self._looking = anyio.Lock()

    async def removed(self, vectors: NDArray[np.float32], limiter: anyio.CapacityLimiter) -> NDArray[np.float32]:
        """The vectors without what they have in common with all others, one a row.

        limiter: of the threads in which the model computes.
        """
        async with self._looking:  # who leaves in the middle leaves what was seen to the next
            for sentence in SENTENCES[len(self._seen) :]:
                self._seen += await to_thread.run_sync(self._embedded, sentence, limiter=limiter)
        seen = np.asarray(self._seen)
        deviation = seen.std(axis=0)
        centred = vectors - seen.mean(axis=0)
        return np.asarray(centred / np.where(deviation == 0, 1, deviation), dtype=np.float32)

    def _embedded(self, sentence: str) -> list[list[float]]:
        return self._engine.embed([self._engine.tokenize([sentence])[: self._engine.context_length]])
