"""One call, as far as it has come: what was asked, when what happened, and what the model wrote."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_core import to_json

from mistral_client.server.engine import Generation, Piece, Sampling, TokenLogprob

BODY = 256 * 2**10
"""Bytes of a request's body that are kept; of a larger one none are."""

PIECES = 4096
"""Pieces of an answer that are kept, which are a token each but for characters of several."""

ALTERNATIVES = 3
"""Tokens that are asked for in the place of each, the one that was drawn among them."""

ERROR = 16 * 2**10
"""Bytes of an error's body that are kept."""


@dataclass(slots=True, eq=False)
class Call:
    """What is kept of one call. It holds nothing of the request: neither its headers nor its connection."""

    number: int
    method: str
    path: str
    agent: str
    """What the client calls itself."""
    attempts: str
    """Tells the attempts at one call from others; empty where it cannot be known."""
    label: str
    """What the inspector's page told it by, for a call that was made there."""
    correlation: str
    watched: bool
    """Somebody looked when it came, so the engine is asked for log-probabilities."""
    at: float = field(default_factory=time.time)
    begun: float = field(default_factory=time.monotonic)
    prepared: float | None = None
    """The prompt was made, and it waits for a slot. These and the following as `time.monotonic` has it."""
    started: float | None = None
    first: float | None = None
    """The first text came."""
    latest: float | None = None
    ended: float | None = None
    body: bytes = b""
    status: int | None = None
    outcome: str = ""
    """`answered`, `failed`, `left` for a client that did not wait for the end, `cut` for a connection that was closed
    here; empty while it runs."""
    replayed: bool = False
    """An answer to an earlier attempt was given again."""
    error: bytes = b""
    times: int = 1
    """How many like it there were, for a refusal that came again and again."""
    model: str = ""
    """By the name that was asked for, when that has led to one."""
    prompt: array[int] = field(default_factory=lambda: array("I"))
    prompt_tokens: int = 0
    answer_tokens: int = 0
    reasons: tuple[str, ...] = ()
    """Why each answer ended."""
    pieces: list[tuple[int, float, Piece]] = field(default_factory=list)
    """While it runs: the answer's number, the time and the piece."""
    reply: bytes = b""
    """Afterwards: the same as JSON, which takes less memory and nothing of the garbage collector's time."""
    about: tuple[str, str, bool] | None = None
    """What the list shows of the body, once somebody looked."""
    size: int = 0
    """Its weight as it was last counted."""
    version: int = 0
    """Grows with each change, but for tokens."""
    kept: bool = True

    def ready(self, model: str, tokens: int, prompt: Sequence[int] = ()) -> None:
        """The prompt is made, and its tokens are counted; those of a chat are kept."""
        self.prepared = time.monotonic()
        self.model, self.prompt_tokens = model, tokens
        if self.kept:
            self.prompt = array("I", prompt)

    def watch(self, samplings: Sequence[Sampling]) -> Sequence[Sampling]:
        """The samplings to run: with log-probabilities where somebody looks."""
        if not self.watched:
            return samplings
        return [
            replace(sampling, logprobs=ALTERNATIVES) if sampling.logprobs is None else sampling
            for sampling in samplings
        ]

    def run(self) -> None:
        """It has a slot."""
        self.started = time.monotonic()

    def take(self, number: int, now: float, piece: Piece) -> None:
        """Text of the n-th answer. From the engine's thread."""
        if self.first is None:
            self.first = now
        self.latest = now
        self.answer_tokens += 1
        if self.kept and len(self.pieces) < PIECES:
            self.pieces.append((number, now, piece))

    def count(self, generations: Sequence[Generation]) -> None:
        """All answers are whole."""
        self.prompt_tokens = generations[0].prompt_tokens
        self.answer_tokens = sum(generation.completion_tokens for generation in generations)
        self.reasons = tuple(generation.finish_reason for generation in generations)

    def settle(self, outcome: str) -> None:
        """It has ended, and is kept for who looks later."""
        self.ended, self.outcome = time.monotonic(), outcome
        if self.kept:
            self.reply = to_json(self.written())
        self.pieces = []

    @property
    def weight(self) -> int:
        """Bytes of what is kept, but for the pieces while it runs."""
        return len(self.body) + len(self.error) + len(self.reply) + self.prompt.itemsize * len(self.prompt)

    def forget(self) -> None:
        """Nobody can look at it any more."""
        self.kept = False
        self.body = self.error = self.reply = b""
        self.prompt, self.pieces = array("I"), []

    def written(self, after: int = 0) -> list[list[Any]]:
        """The pieces from the n-th on: answer's number, milliseconds from the beginning, text, tokens."""
        return [
            [number, round((now - self.begun) * 1000), piece.text, [_token(token) for token in piece.tokens]]
            for number, now, piece in self.pieces[after:]
        ]


def _token(token: TokenLogprob) -> list[Any]:
    return [token.token, token.logprob, [[other.token, other.logprob] for other in token.top]]
