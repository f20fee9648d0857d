from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from mistral_client import install_as_mistralai


@pytest.fixture
def as_mistralai() -> Iterator[None]:
    """`install_as_mistralai` is for a whole process; here it lasts for a test."""
    install_as_mistralai()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "mistralai"]:
        del sys.modules[name]
