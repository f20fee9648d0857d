"""Fill in the middle: a request as the parts of a prompt, in the manner that the model was trained on."""

from __future__ import annotations

from collections.abc import Callable

from mistral_client.models.fim import FIMCompletionRequest

from . import errors
from .chat import Asked
from .engine import Engine, Part, Sampling

_BEFORE_A_SUFFIX = "☺"
"""Any text that is no part of a longer token: what follows it is no beginning, and gets no space in front."""

_SAMPLED = ("temperature", "top_p", "random_seed", "max_tokens")
_MARKS = (("<fim_prefix>", "<fim_suffix>", "<fim_middle>"), ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"))
"""Of StarCoder and of Qwen, and of the models that followed them."""


def fills_in(token_id: Callable[[str], int | None]) -> bool:
    """Whether a vocabulary has the control tokens for a text with a hole in it."""
    return _found(token_id, ("[SUFFIX]", "[PREFIX]")) is not None or any(_found(token_id, marks) for marks in _MARKS)


def asked_to_fill(request: FIMCompletionRequest, engine: Engine, max_tokens: int | None) -> Asked:
    """What the engine has to do; `max_tokens` is for a request that names none.

    Raises `WireError` for what this server, or this model, cannot do, `EngineError` when the tokenizer fails.
    """
    if request.min_tokens:
        raise errors.not_supported("min_tokens", f"min_tokens={request.min_tokens}")
    given = {name: getattr(request, name) for name in _SAMPLED if getattr(request, name) is not None}
    given.setdefault("max_tokens", max_tokens)
    stop = request.stop or []
    sampling = Sampling(**given, stop=tuple(text for text in ([stop] if isinstance(stop, str) else stop) if text))
    return Asked(_parts(request.prompt, request.suffix or "", engine), [sampling], "", None)


def _parts(prompt: str, suffix: str, engine: Engine) -> list[Part]:
    bos = engine.token_id("<s>")
    begin: list[Part] = [] if bos is None else [bos]
    mistral = _found(engine.token_id, ("[SUFFIX]", "[PREFIX]"))
    if mistral:
        # As `encode_fim` of https://github.com/mistralai/mistral-common, also where there is no suffix.
        return [*begin, mistral[0], *_unspaced(suffix, engine), mistral[1], prompt]
    if not suffix:
        if not prompt and bos is None:
            raise errors.invalid_args("prompt", "prompt: there is nothing to go on from")
        return [*begin, prompt]
    for marks in _MARKS:
        if found := _found(engine.token_id, marks):
            before, after, middle = found
            return [*begin, before, prompt, after, suffix, middle]
    raise errors.invalid_args(
        "suffix", "suffix: this model has no tokens for filling in the middle; it can only go on from a prompt"
    )


def _unspaced(suffix: str, engine: Engine) -> list[int]:
    """The tokens of a text without the space that some tokenizers put at its beginning."""
    if not suffix:
        return []
    before = engine.tokenize([_BEFORE_A_SUFFIX])
    whole = engine.tokenize([_BEFORE_A_SUFFIX + suffix])
    return whole[len(before) :] if whole[: len(before)] == before else engine.tokenize([suffix])


def _found(token_id: Callable[[str], int | None], marks: tuple[str, ...]) -> list[int] | None:
    """The ids of these tokens, where the vocabulary has them all."""
    ids = [token_id(mark) for mark in marks]
    found = [token for token in ids if token is not None]
    return found if len(found) == len(marks) else None
