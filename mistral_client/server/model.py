"""A loaded model, and what the routes need to use it."""

from __future__ import annotations

from dataclasses import dataclass

from . import errors
from .admission import WAITING, Admission
from .cards import Cards
from .engine import Engine
from .fim import fills_in
from .loading import Loaded
from .metrics import Metrics
from .prompt import PromptFormat, prompt_format


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model and what the routes need to use it."""

    name: str
    engine: Engine
    format: PromptFormat
    cards: Cards
    admission: Admission
    metrics: Metrics
    max_tokens: int | None

    @classmethod
    def of(cls, loaded: Loaded, queue: int = WAITING) -> Model:
        """Raises `EngineError` if nobody here knows how to write a prompt for this model."""
        engine = loaded.engine
        admission = Admission(engine.slots, queue)
        return cls(
            loaded.name,
            engine,
            prompt_format(engine.chat_template, engine.token_id),
            Cards(loaded.name, loaded.description, engine.context_length, completion_fim=fills_in(engine.token_id)),
            admission,
            Metrics(loaded.name, lambda: admission.running, lambda: admission.waiting),
            loaded.max_tokens,
        )

    def check_name(self, name: str) -> None:
        """Raises the API's error for a model that is not here."""
        if name not in self.cards:
            raise errors.invalid_model(name)
