from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from mistral_client.server.weights import baby


class Pair(NamedTuple):
    gguf: Path
    safetensors: Path


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> Pair:
    """The baby Mixtral twice, with the same weights in float32."""
    folder = tmp_path_factory.mktemp("pair")
    return Pair(baby.write_gguf(folder / "baby.gguf"), baby.write_safetensors(folder / "baby"))


class Listener:
    """Keeps what it hears; leaves after so many calls."""

    def __init__(self, leaves_after=None):
        self.heard = []
        self.tokens = []
        self.leaves_after = leaves_after

    def __call__(self, piece):
        self.heard.append(piece.text)
        self.tokens += piece.tokens
        return len(self.heard) == self.leaves_after

    @property
    def text(self):
        return "".join(self.heard)


@pytest.fixture
def listener():
    return Listener
