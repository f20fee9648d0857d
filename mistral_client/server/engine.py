"""What the server asks of a model: token ids in, text out. An engine knows no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Part = str | int
"""A stretch of a prompt: plain text, never read as control tokens, or the id of one token."""


LEAST_LOGPROB = -9999.0
"""What stands for the logarithm of 0, which JSON cannot hold."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with its log-probability, natural logarithm, before the temperature and whatever else shapes the draw."""

    token: str
    id: int
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens in its place, likeliest first."""


class TokenText(NamedTuple):
    """What a token of a prompt stands for."""

    text: bytes
    """Of a control token its name; of others what they mean, which need not be whole characters."""
    is_control: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """The next text of a generation; empty while the prompt is read."""

    text: str
    tokens: tuple[TokenLogprob, ...] = ()
    """The tokens that it is made of, where log-probabilities were asked for."""


Emit = Callable[[Piece], bool]
"""Takes the next piece of a generation; true when nobody listens any more and it must stop."""


class EngineError(Exception):
    """The engine could not load a model or failed to answer; the message is fit for the user."""


class ContextLengthError(EngineError):
    """A prompt does not fit the model's context."""

    def __init__(self, tokens: int, limit: int, *, at_least: bool = False) -> None:
        super().__init__(
            f"Prompt contains {'at least ' * at_least}{tokens} tokens and 0 draft tokens, "
            f"too large for model with {limit} maximum context length"
        )
        self.tokens = tokens
        self.limit = limit


class MemoryShortError(EngineError):
    """There is less memory than a model needs."""

    def __init__(self, model: str, needed: str, available: str) -> None:
        super().__init__(
            f"{model} needs {needed} of memory and there are {available} for it: "
            "ask for less context or fewer slots, or take a smaller model"
        )


class UnsupportedError(EngineError):
    """The request asks for something that this engine, or this model, cannot do."""


class GenerationCancelled(EngineError):
    """`emit` returned true: nobody waits for the answer any more, so there is none."""

    def __init__(self) -> None:
        super().__init__("the generation was cancelled")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, and when to stop."""

    max_tokens: int | None = None
    """At most so many tokens; None: as many as the context holds."""
    temperature: float = 0.7
    """0 is greedy."""
    top_p: float = 1.0
    random_seed: int | None = None
    """None: a fresh one each time."""
    stop: tuple[str, ...] = ()
    """Texts that end the generation; they are not part of the answer."""
    top_k: int = 0
    """Draw from so many of the likeliest tokens; 0: from all."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logprobs: int | None = None
    """Each token comes with its log-probability and so many likeliest alternatives; None: without."""
    grammar: str | None = None
    """The answer is a sentence of this grammar, in the notation of llama.cpp (GBNF)."""
    shown: tuple[str, ...] = ()
    """Control tokens that are part of the answer's text; others are left out."""


@dataclass(frozen=True, slots=True)
class Generation:
    """How a generation ended, and what it counted."""

    finish_reason: Literal["stop", "length", "model_length"]
    """`model_length`: the context was full before `max_tokens` was reached."""
    prompt_tokens: int
    completion_tokens: int


class Engine(Protocol):
    """A loaded model. Its methods block and may be called from several threads at once; the server calls
    them off its event loop, at most `slots` at a time.
    """

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together, for one generation."""

    @property
    def slots(self) -> int:
        """How many generations run at the same time."""

    @property
    def chat_template(self) -> str:
        """The model file's own chat template (Jinja source); empty where it has none."""

    @property
    def is_embedding_model(self) -> bool:
        """Whether it was made for embeddings: its vectors are compared as they are, and it writes no text."""

    @property
    def follows_grammars(self) -> bool:
        """Whether it can hold an answer to a grammar; else it refuses to, and so calls no tools."""

    def token_id(self, token: str) -> int | None:
        """The id of a control token such as `<|im_end|>`; None if the vocabulary has no such token."""

    def tokenize(self, parts: Sequence[Part]) -> list[int]:
        """The token ids of a prompt. Text is plain text: no control token ever comes out of it.

        Raises `ContextLengthError` for a text that is too long however it is cut, as soon as that is seen.
        """

    def texts_of(self, tokens: Sequence[int]) -> list[TokenText]:
        """What each of these tokens stands for. Raises `EngineError` for one that the model does not have."""

    def generate(self, prompt: Sequence[int], sampling: Sampling, emit: Emit) -> Generation:
        """Answer a prompt, handing each new piece of text to `emit` as it is made.

        While the prompt is read `emit` is called with an empty piece now and then, so that a listener who left
        is noticed. Stops within one token (while reading: one batch) once `emit` returns true.

        Raises `ContextLengthError` before any work, `GenerationCancelled` once `emit` returned true, `EngineError` when
        the model fails, and what `emit` raises.
        """

    def embed(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """One vector of unit norm for each prompt, in order.

        Raises `ContextLengthError` before any work, `EngineError` when the model fails.
        """

    def close(self) -> None:
        """Stop what is running and give memory, threads and sockets back. May be called twice."""
