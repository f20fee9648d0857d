"""JSON files of a checkpoint, read with suspicion."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from .errors import WeightsError


def read_object(path: Path, limit: int) -> dict[str, Any]:
    """The JSON object that a file of at most `limit` bytes holds. Raises `WeightsError`."""
    text = read_bytes(path, limit)
    try:
        return parse_object(text)
    except ValueError as error:
        raise WeightsError(f"{path} is damaged: {error}; download it again") from None


def read_bytes(path: Path, limit: int) -> bytes:
    """All of a regular file of at most `limit` bytes. Raises `WeightsError`."""
    try:
        # Asked before opening: opening a named pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise WeightsError(f"{path} is not a regular file")
        with path.open("rb") as file:
            text = file.read(limit + 1)
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(text) > limit:
        raise WeightsError(f"{path} is larger than {limit // 2**20} MiB, which no such file is")
    return text


def parse_object(text: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 in which no key is twice. Raises `ValueError` with the reason."""
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repetition)
    except RecursionError:
        raise ValueError("it is nested without end") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  # of the text, not of an argument
    return value


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("it has a key twice in one object")
    return value
