from __future__ import annotations

import pytest

from mistral_client.server.engine import EngineError
from mistral_client.server.loading import ModelSpec, load, name_of
from mistral_client.server.weights import WeightsError


def test_a_file_is_known_by_its_name(baby):
    loaded = load(ModelSpec(str(baby)))
    try:
        assert (loaded.name, loaded.max_tokens) == ("baby", None)
        assert "baby.gguf" in loaded.description
    finally:
        loaded.engine.close()


def test_a_model_has_one_name(baby, monkeypatch):
    monkeypatch.chdir(baby.parent)
    assert name_of("baby.gguf") == name_of(f"../{baby.parent.name}/baby.gguf") == name_of(str(baby))
    assert name_of(None) == name_of("") == name_of("mixtral-8x135m") == "mixtral-8x135m"
    with pytest.raises(WeightsError, match=r"none\.gguf"):
        name_of("none.gguf")


def test_the_environment_sets_what_nobody_names(baby, monkeypatch):
    monkeypatch.setenv("MISTRAL_LOCAL_CONTEXT_LENGTH", "128")
    monkeypatch.setenv("MISTRAL_LOCAL_SLOTS", "2")
    monkeypatch.setenv("MISTRAL_LOCAL_THREADS", "1")
    engine = load(ModelSpec(str(baby), slots=3)).engine
    try:
        assert (engine.context_length, engine.slots) == (128, 3)
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("value", "message"), [("many", "MISTRAL_LOCAL_SLOTS='many'"), ("0", "1 to 256 slots"), ("-1", "whole number")]
)
def test_an_environment_that_makes_no_sense(baby, monkeypatch, value, message):
    monkeypatch.setenv("MISTRAL_LOCAL_SLOTS", value)
    with pytest.raises(EngineError, match=message):
        load(ModelSpec(str(baby)))
