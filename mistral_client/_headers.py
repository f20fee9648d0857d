"""Headers that users add: what can be sent, which hold a secret, and which one wins. Performs no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

AUTHORIZATION = "Authorization"
_SECRET = re.compile("authorization|api-?key|token|secret|password", re.IGNORECASE)


def flaw(headers: Mapping[Any, Any]) -> str | None:
    """What is wrong with headers that a user gave; None when they can be sent."""
    for name, value in headers.items():
        if not all(isinstance(part, str) and part.isascii() and part.isprintable() for part in (name, value)):
            return f"{name!r} cannot be sent, only printable ASCII text can"
    return None


def secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of the headers that nobody may see, as far as their names tell."""
    return {name: value for name, value in headers.items() if _SECRET.search(name)}


def merged(headers: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """The others in the place of those with the same name, in whatever case, and beside the rest.

    The header of the key is spelt `Authorization` in what is returned.
    """
    if not others:
        return dict(headers)
    replaced = {name.lower() for name in others}
    kept = {name: value for name, value in headers.items() if name.lower() not in replaced}
    return kept | {
        AUTHORIZATION if name.lower() == AUTHORIZATION.lower() else name: value for name, value in others.items()
    }
