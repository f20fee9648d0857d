"""How many tokens an answer may have."""

from __future__ import annotations

from typing import Literal

from mistral_client.server.engine import ContextLengthError, Sampling


def limit_of(
    prompt_tokens: int, sampling: Sampling, context_length: int
) -> tuple[int, Literal["length", "model_length"]]:
    """The most tokens that an answer may have, and the finish reason of one that reaches them.

    Raises `ContextLengthError` where the prompt leaves no room for an answer.
    """
    room = context_length - prompt_tokens
    if room < 1:
        raise ContextLengthError(prompt_tokens, context_length)
    if sampling.max_tokens is None or sampling.max_tokens > room:
        return room, "model_length"
    return sampling.max_tokens, "length"
