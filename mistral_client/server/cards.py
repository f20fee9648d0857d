"""The names under which a local model is known, and its card under each."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ALIASES = (
    "mistral-tiny",
    "mistral-small",
    "mistral-medium",
    "open-mistral-7b",
    "open-mixtral-8x7b",
    "mistral-small-latest",
    "mistral-medium-latest",
    "mistral-large-latest",
    "codestral-latest",
    "mistral-embed",
)
"""Names of the real API that programs ask for; here they lead to the first model, unless another one claims them."""

_RETIRED = dict.fromkeys(("mistral-tiny", "open-mistral-7b", "open-mixtral-8x7b"), "2025-03-30T00:00:00Z")
"""Names that the real API gave up, and when. Here they go on."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can be asked for; embeddings any."""

    chat: bool = True
    tools: bool = True
    fill_in: bool = False


class Cards:
    """Model cards with the fields of early 2024 and of today, for a client of either time."""

    def __init__(
        self,
        name: str,
        description: str,
        context_length: int,
        aliases: Sequence[str] = ALIASES,
        capabilities: Capabilities = Capabilities(),
    ) -> None:
        self._created = int(time.time())
        self._aliases = [*aliases]
        self._description = description
        self._context_length = context_length
        self._capabilities = capabilities
        self._cards = {alias: self._card(alias, name) for alias in (name, *aliases)}

    def list(self) -> list[dict[str, Any]]:
        """One for each name."""
        return list(self._cards.values())

    def get(self, name: str) -> dict[str, Any] | None:
        """The body of `GET /v1/models/{id}`."""
        return self._cards.get(name)

    def retired(self, name: str) -> dict[str, str]:
        """Headers that tell of the end of a name; none where it goes on."""
        return {"x-model-deprecation-timestamp": _RETIRED[name]} if name in _RETIRED else {}

    def _card(self, alias: str, name: str) -> dict[str, Any]:
        return {
            "id": alias,
            "object": "model",
            "created": self._created,
            "owned_by": "mistralai",
            "root": None if alias == name else name,
            "parent": None,
            "permission": [self._permission()],
            "name": name,
            "description": self._description,
            "max_context_length": self._context_length,
            "aliases": [] if alias != name else self._aliases,
            "deprecation": _RETIRED.get(alias),
            "default_model_temperature": 0.7,
            "type": "base",
            "capabilities": {
                "completion_chat": self._capabilities.chat,
                "completion_fim": self._capabilities.fill_in,
                "function_calling": self._capabilities.tools,
                "fine_tuning": False,
                "vision": False,
                "classification": False,
            },
        }

    def _permission(self) -> dict[str, Any]:
        return {
            "id": f"modelperm-{uuid.uuid4().hex}",
            "object": "model_permission",
            "created": self._created,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": False,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
