"""From what a user calls a model to an engine that answers: first it is found, then it is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import memory, weights
from .cards import Capabilities
from .engine import Engine, EngineError, MemoryShortError
from .engines.needs import Needs, needs_of, needs_of_checkpoint
from .fim import fills_in

_BABBLE = 1024


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as a user describes it. None leaves the choice to us."""

    model: str | None = None
    """A GGUF file, the folder of a checkpoint in safetensors, `hf:OWNER/REPO[:FILE]`, or the default Mixtral."""
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
    capabilities: Capabilities
    max_tokens: int | None = None
    aliases: tuple[str, ...] | None = None

    def load(self) -> Loaded:
        """Raises `EngineError`."""
        engine: Engine = _engine_for(self.path)(
            self.path, context_length=self.needs.context_length, slots=self.needs.slots, threads=self.threads
        )
        return Loaded(self.name, self.description, engine, self.max_tokens, self.aliases)


def _engine_for(path: Path) -> Callable[..., Engine]:
    # Each brings 100 MB of native code and more.
    if path.is_dir():
        from .engines.transformers import TransformersEngine  # noqa: PLC0415

        return TransformersEngine
    from .engines.llama_cpp import LlamaCppEngine  # noqa: PLC0415

    return LlamaCppEngine


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
    context_length = _or_environment(spec.context_length, "MISTRAL_LOCAL_CONTEXT_LENGTH")
    slots = _or_environment(spec.slots, "MISTRAL_LOCAL_SLOTS")
    if path.is_dir():
        checkpoint = weights.check_checkpoint(path)
        needs, control_tokens = needs_of_checkpoint(checkpoint, context_length, slots), checkpoint.control_tokens
        writes, calls = True, False
        name = path.resolve().name
    else:
        header = weights.check_model(path)
        needs, control_tokens = needs_of(path, header, context_length, slots), weights.control_tokens(header)
        writes = calls = not weights.is_embedding_model(header)
        name = weights.stem_of(path)
    default = _is_default(spec.model)
    return Found(
        spec.name or (weights.NAME if default else name.lower()),
        weights.DESCRIPTION if default else f"A local model: {path.name}",
        path,
        needs,
        _or_environment(spec.threads, "MISTRAL_LOCAL_THREADS"),
        Capabilities(writes, calls, writes and fills_in(control_tokens.get)),
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
