from pathlib import Path

import pytest

from mistral_client.server.weights import baby


@pytest.fixture(scope="session")
def baby_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return baby.write_gguf(tmp_path_factory.mktemp("baby") / "baby.gguf")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mistral_client"


@pytest.fixture
def pip_without_index(tmp_path, monkeypatch):
    """The folder that is all pip can install from: no network, no settings of the user."""
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return links
