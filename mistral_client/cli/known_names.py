"""The names that endpoints offered when they were last asked, for the completion of a shell, which asks nobody."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import Failure
from .whole_file import whole_file

if TYPE_CHECKING:
    from mistral_client.client import MistralClient
    from mistral_client.models.models import ModelList

_WORD = re.compile(r"[A-Za-z0-9_.:/@+-]+")

ENDPOINTS = 16
"""Those that were asked last; others are forgotten."""


def offered(asked: MistralClient, endpoint: str) -> ModelList:
    """The models of an endpoint, whose names are known from now on."""
    models = asked.list_models()
    known = _read()
    known.pop(endpoint, None)
    known[endpoint] = [card.id for card in models.data]
    file = _file()
    # Completion is a convenience, which a folder that cannot be written has not.
    with contextlib.suppress(OSError, Failure):
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as opened:
            opened.write(json.dumps(dict([*known.items()][-ENDPOINTS:])).encode())
    return models


def known_names(endpoint: str | None) -> list[str]:
    """The names of an endpoint that were seen, or of all, where this one was never asked. Only what no shell reads
    as more than a word.
    """
    known = _read()
    names = known[endpoint] if endpoint in known else sorted({name for names in known.values() for name in names})
    return [name for name in names if _WORD.fullmatch(name)]


def _read() -> dict[str, list[str]]:
    try:
        known = json.loads(_file().read_bytes())
        return {str(endpoint): [*map(str, names)] for endpoint, names in known.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _file() -> Path:
    import platformdirs

    return platformdirs.user_state_path("mistral_client") / "model_names.json"
