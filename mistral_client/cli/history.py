"""What was typed at earlier times, in a file of the user's that nobody else may read."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from .failure import Failure
from .whole_file import whole_file

LENGTH = 1000
"""Texts that are remembered."""

LONGEST = 10_000
"""Characters of one; longer ones are not."""


class History:
    """Texts in their order, each as a line of JSON. A file that cannot be used is passed over: it is a convenience."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def of_user(cls) -> History:
        """The history of the person at the terminal."""
        import platformdirs

        return cls(platformdirs.user_state_path("mistral_client") / "history.jsonl")

    def read(self) -> list[str]:
        """The last texts. Of more than these the file keeps no others."""
        try:
            lines = self._file.read_bytes().splitlines()
        except OSError:
            return []
        if len(lines) > LENGTH:
            with contextlib.suppress(Failure), whole_file(self._file, 0o600) as file:
                file.write(b"".join(line + b"\n" for line in lines[-LENGTH:]))
        return [text for line in lines[-LENGTH:] if isinstance(text := _json(line), str)]

    def add(self, text: str) -> None:
        """Remember one more, at once: several terminals may be in use, and any may be closed."""
        if len(text) > LONGEST:
            return
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                self._file.chmod(0o600)
                file.write(f"{json.dumps(text)}\n".encode())


def _json(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
