"""From a model's name or file to an engine that answers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import weights
from .engine import Engine, EngineError

_BABBLE = 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine, with the name and the description that its model card carries."""

    name: str
    description: str
    engine: Engine
    max_tokens: int | None = None
    """Of an answer for which the request sets no limit; None: as many as the context holds."""


def name_of(model: str | None) -> str:
    """The one name for a model that may have several: the default's, or a file's full path. Makes and loads nothing.

    Raises `WeightsError` for a model that certainly cannot be loaded.
    """
    return weights.NAME if _is_default(model) else str(weights.resolve(model).resolve())


def load(
    model: str | None = None, *, context_length: int | None = None, slots: int | None = None, threads: int | None = None
) -> Loaded:
    """Load a GGUF file, or the default Mixtral, which is made first where there is none yet.

    context_length: tokens for each generation. slots: generations at the same time. threads: of the engine.
    None takes what `MISTRAL_LOCAL_CONTEXT_LENGTH`, `MISTRAL_LOCAL_SLOTS` and `MISTRAL_LOCAL_THREADS` say, else leaves
    the choice to the engine.

    Raises `WeightsError` or `EngineError`.
    """
    from .engines.llama_cpp import LlamaCppEngine  # noqa: PLC0415, it brings 100 MB of native code

    path = weights.resolve(model)
    engine = LlamaCppEngine(
        path,
        context_length=_or_environment(context_length, "MISTRAL_LOCAL_CONTEXT_LENGTH"),
        slots=_or_environment(slots, "MISTRAL_LOCAL_SLOTS"),
        threads=_or_environment(threads, "MISTRAL_LOCAL_THREADS"),
    )
    if _is_default(model):
        # So small a model does not always find an end, and would fill its context for minutes.
        return Loaded(weights.NAME, weights.DESCRIPTION, engine, _BABBLE)
    return Loaded(Path(path).stem.lower(), f"A local model: {Path(path).name}", engine)


def _or_environment(value: int | None, name: str) -> int | None:
    text = os.environ.get(name, "")
    if value is not None or not text:
        return value
    if not text.isdecimal():
        raise EngineError(f"{name}={text!r} is not a whole number")
    return int(text)


def _is_default(model: str | None) -> bool:
    return model in {None, "", weights.NAME}
