"""From what a user calls a model to an engine that answers: first it is found, then it is loaded."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from . import memory, weights
from .engine import Engine, EngineError, MemoryShortError
from .engines.needs import Needs, needs_of
from .fim import fills_in

_BABBLE = 1024


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as a user describes it. None leaves the choice to us."""

    model: str | None = None
    """A file, `hf:OWNER/REPO[:FILE]`, or the default Mixtral."""
    name: str | None = None
    """Else that of the file."""
    aliases: tuple[str, ...] | None = None
    """Further names under which it may be called."""
    context_length: int | None = None
    """Tokens of prompt and answer together."""
    slots: int | None = None
    """Generations at the same time."""
    threads: int | None = None
    """Of computation."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine, with the name and the description that its model card carries."""

    name: str
    description: str
    engine: Engine
    max_tokens: int | None = None
    """Of an answer for which the request sets no limit; None: as many as the context holds."""
    aliases: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A model whose files are there and fit to be loaded."""

    name: str
    description: str
    path: Path
    needs: Needs
    threads: int | None
    completion_fim: bool
    max_tokens: int | None = None
    aliases: tuple[str, ...] | None = None

    def load(self) -> Loaded:
        """Raises `EngineError`."""
        from .engines.llama_cpp import LlamaCppEngine  # noqa: PLC0415, it brings 100 MB of native code

        engine = LlamaCppEngine(
            self.path, context_length=self.needs.context_length, slots=self.needs.slots, threads=self.threads
        )
        return Loaded(self.name, self.description, engine, self.max_tokens, self.aliases)


def name_of(model: str | None) -> str:
    """The one name for a model that may have several: the default's, or a file's full path. Makes and loads nothing.

    Raises `WeightsError` for a model that certainly cannot be loaded.
    """
    if _is_default(model):
        return weights.NAME
    return str(model) if weights.is_remote(str(model)) else str(weights.resolve(model).resolve())


def find(spec: ModelSpec) -> Found:
    """Look for a model and at what it needs. The default Mixtral is made, and one of the hub downloaded, if need be.

    What the spec leaves open is taken from `MISTRAL_LOCAL_CONTEXT_LENGTH`, `MISTRAL_LOCAL_SLOTS` and
    `MISTRAL_LOCAL_THREADS`, else from the model and the machine.

    Raises `WeightsError` or `EngineError`, the latter also for what this machine can never hold.
    """
    path = weights.resolve(spec.model)
    header = weights.check_model(path)
    needs = needs_of(
        path,
        header,
        _or_environment(spec.context_length, "MISTRAL_LOCAL_CONTEXT_LENGTH"),
        _or_environment(spec.slots, "MISTRAL_LOCAL_SLOTS"),
    )
    default = _is_default(spec.model)
    return Found(
        spec.name or (weights.NAME if default else weights.stem_of(path).lower()),
        weights.DESCRIPTION if default else f"A local model: {path.name}",
        path,
        needs,
        _or_environment(spec.threads, "MISTRAL_LOCAL_THREADS"),
        fills_in(weights.control_tokens(header).get),
        # So small a model does not always find an end, and would fill its context for minutes.
        _BABBLE if default else None,
        spec.aliases,
    )


def load(spec: ModelSpec, memory_limit: int | None = None) -> Loaded:
    """Find and load a model for which there is memory now; of that it may take so many bytes.

    Raises `WeightsError` or `EngineError`.
    """
    found = find(spec)
    available = min(memory.available(), memory_limit or sys.maxsize)
    if found.needs.bytes > available:
        raise MemoryShortError(found.name, memory.shown(found.needs.bytes), memory.shown(available))
    return found.load()


def _or_environment(value: int | None, name: str) -> int | None:
    text = os.environ.get(name, "")
    if value is not None or not text:
        return value
    if not text.isdecimal():
        raise EngineError(f"{name}={text!r} is not a whole number")
    return int(text)


def _is_default(model: str | None) -> bool:
    return model in {None, "", weights.NAME}
