"""A loaded model, and what the routes need to use it."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from . import errors
from .cards import Cards
from .engine import Engine
from .loading import Loaded
from .prompt import PromptFormat, prompt_format


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model and what the routes need to use it."""

    name: str
    engine: Engine
    format: PromptFormat
    cards: Cards
    slots: anyio.CapacityLimiter
    max_tokens: int | None

    @classmethod
    def of(cls, loaded: Loaded) -> Model:
        """Raises `EngineError` if nobody here knows how to write a prompt for this model."""
        engine = loaded.engine
        return cls(
            loaded.name,
            engine,
            prompt_format(engine.chat_template, engine.token_id),
            Cards(loaded.name, loaded.description, engine.context_length),
            anyio.CapacityLimiter(engine.slots),
            loaded.max_tokens,
        )

    def check_name(self, name: str) -> None:
        """Raises the API's error for a model that is not here."""
        if name not in self.cards:
            raise errors.invalid_model(name)
