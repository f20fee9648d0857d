"""Answers to questions for models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from mistral_client.server import errors
from mistral_client.server.cards import Cards

from .answer import Answer
from .request import MODELS, Request

_CONTEXT_LENGTH = 32_768


class ModelsReply:
    """models: their names, or cards of one's own."""

    def __init__(self, models: Sequence[str | Mapping[str, Any]]) -> None:
        self._cards = {card["id"]: card for card in map(_card, models)}

    def answers(self, request: Request) -> bool:
        if request.path == MODELS:
            return request.method == "GET"
        return request.path.startswith(MODELS + "/") and request.method in {"GET", "DELETE"}

    def answer(self, request: Request) -> Answer:
        if request.path == MODELS:
            return _answer({"object": "list", "data": [*self._cards.values()]})
        name = unquote(request.path.removeprefix(MODELS + "/"))
        if name not in self._cards:
            raise errors.no_such_model(name)
        if request.method == "DELETE":
            return _answer({"id": name, "object": "model", "deleted": True})
        return _answer(self._cards[name])

    def __str__(self) -> str:
        return f"reply_models({[*self._cards]})"


def _card(model: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(model, str):
        return Cards(model, "A model of the test.", _CONTEXT_LENGTH, aliases=()).list()[0]
    return {"object": "model", **model}


def _answer(value: Any) -> Answer:
    return Answer(json.dumps(value).encode())
