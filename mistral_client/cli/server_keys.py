"""Where the keys of a server come from: options, the environment, a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import Failure

if TYPE_CHECKING:
    from mistral_client.server.keys import Keys

VARIABLE = "MISTRAL_SERVER_API_KEYS"


def server_keys(given: tuple[str, ...], file: str | None) -> Keys:
    """The keys of all three places together. A file that names none is an error: it was to protect something."""
    from mistral_client.server.keys import Keys

    listed = [key.strip() for key in os.environ.get(VARIABLE, "").split(",")]
    try:
        return Keys([*given, *filter(None, listed), *(_in_file(file) if file is not None else [])])
    except ValueError as error:
        raise Failure(f"of the keys of the server one cannot be used: {error}") from None


def _in_file(file: str) -> list[str]:
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Failure(f"{file} is not a text file") from None
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from None
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise Failure(f"{file} holds no key: one a line, and lines that begin with # are comments")
    return keys
