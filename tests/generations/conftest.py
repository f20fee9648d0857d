from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _on_the_local_server(monkeypatch, baby, _own_environment):
    monkeypatch.setenv("MISTRAL_ENDPOINT", f"local:{baby}")
