"""A loaded model, and what the routes need to use it."""

from __future__ import annotations

from dataclasses import dataclass

from .admission import Admission
from .cards import Cards
from .common_direction import CommonDirection
from .engine import Engine
from .metrics import ModelMetrics
from .prompt import PromptFormat


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model and what the routes need to use it."""

    name: str
    engine: Engine
    format: PromptFormat | None
    """None for a model that writes no text."""
    cards: Cards
    admission: Admission
    metrics: ModelMetrics
    max_tokens: int | None
    common: CommonDirection | None
    """None for a model whose vectors are made to be compared."""
