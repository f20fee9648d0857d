"""Token ids as what is seen of them: texts with their ids, and which are control tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from anyio import to_thread

from mistral_client.server.engine import EngineError, TokenText
from mistral_client.server.models import Models

from .call import Call

_LONGEST = 4
"""Bytes of a character."""


async def prompt_of(call: Call, models: Models) -> list[list[Any]] | None:
    """The prompt as `spelled` has it; None while there is none, or for a model that is not loaded any more."""
    if not call.prompt:
        return None
    offered = models.offered(call.model)
    if offered.model is None or offered.leaving:
        return None
    tokens = call.prompt.tolist()
    try:
        with offered.in_use():
            texts = await to_thread.run_sync(offered.model.engine.texts_of, tokens, limiter=offered.admission.preparing)
    except EngineError:
        return None
    return spelled(tokens, texts)


def spelled(tokens: Sequence[int], texts: Iterable[TokenText]) -> list[list[Any]]:
    """Stretches of text: each a token, or those that make up a character together. `[text, ids, is control]`."""
    stretches: list[list[Any]] = []
    ids: list[int] = []
    held = b""

    def flush() -> None:
        nonlocal held
        if ids:
            stretches.append([held.decode("utf-8", "replace"), [*ids], False])
        ids.clear()
        held = b""

    for token, text in zip(tokens, texts, strict=True):
        if text.is_control:
            flush()
            stretches.append([text.text.decode("utf-8", "replace"), [token], True])
            continue
        held += text.text
        ids.append(token)
        if not _is_open(held):
            flush()
    flush()
    return stretches


def _is_open(text: bytes) -> bool:
    """Whether more bytes can complete the character at the end."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and len(text) - error.start < _LONGEST
    return False
