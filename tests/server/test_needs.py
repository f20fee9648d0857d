"""What a model is said to need is what it takes."""

import subprocess
import sys
from dataclasses import replace

import pytest

from mistral_client.server import memory, weights
from mistral_client.server.engine import EngineError, MemoryShortError
from mistral_client.server.engines.needs import needs_of, needs_of_checkpoint
from mistral_client.server.weights import baby as baby_model

MEASURED = """
import sys
from pathlib import Path
import psutil
from mistral_client.server import weights
from mistral_client.server.engine import Sampling
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
path, context, slots = weights.resolve(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
before = psutil.Process().memory_info().rss
with LlamaCppEngine(path, context_length=context, slots=slots, threads=1) as engine:
    engine.generate([300] * min(context - 8, 512), Sampling(max_tokens=4, temperature=0), lambda piece: False)
    print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.weights
@pytest.mark.parametrize(("context", "slots"), [(512, 1), (4096, 2)])
def test_the_estimate_is_what_it_takes(context, slots):
    path = weights.default_model()
    needs = needs_of(path, weights.check_model(path), context, slots)
    command = [sys.executable, "-c", MEASURED, str(path), str(context), str(slots)]
    taken = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert abs(needs.bytes - taken) < 60e6, (needs, taken)


def test_the_cache_is_keys_and_values_in_float16_unless_all_is_in_float32(baby):
    header = weights.check_model(baby)
    needs = needs_of(baby, header, 1000, 3)
    per_token = 2 * baby_model.LAYERS * baby_model.KEY_VALUE_HEADS * baby_model.HEAD
    assert needs.cache == 3 * 1000 * per_token * 4
    assert needs.weights == baby.stat().st_size
    half = replace(header, tensors=(*header.tensors[:-1], replace(header.tensors[-1], type=1)))
    assert needs_of(baby, half, 1000, 3).cache == 3 * 1000 * per_token * 2


def test_a_checkpoint_needs_what_its_tensors_take_as_they_are_loaded(tmp_path):
    folder = baby_model.write_safetensors(tmp_path / "baby")
    checkpoint = weights.check_checkpoint(folder)
    stored = (folder / "model.safetensors").stat().st_size
    per_token = 2 * baby_model.LAYERS * baby_model.KEY_VALUE_HEADS * baby_model.HEAD
    needs = needs_of_checkpoint(checkpoint, 1000, 3)
    assert (needs.context_length, needs.slots, needs.cache) == (1000, 3, 3 * 1000 * per_token * 4)
    assert stored - 10_000 < needs.weights < stored
    needs = needs_of_checkpoint(replace(checkpoint, dtype="bfloat16"))
    assert (needs.context_length, needs.slots, needs.cache) == (2048, 1, 2048 * per_token * 2)
    assert needs.weights == checkpoint.weight_bytes // 2


@pytest.mark.parametrize(
    ("context", "slots", "said"), [(2049, 1, "8 to 2048, not 2049"), (7, 1, "not 7"), (64, 0, "1 to 256 slots")]
)
def test_a_checkpoint_that_cannot_run_so(tmp_path, monkeypatch, context, slots, said):
    checkpoint = weights.check_checkpoint(baby_model.write_safetensors(tmp_path / "baby"))
    with pytest.raises(EngineError, match=said):
        needs_of_checkpoint(checkpoint, context, slots)
    monkeypatch.setattr(memory, "total", lambda: 2**20)
    with pytest.raises(MemoryShortError, match="baby with a context of 1 x 64 tokens needs 3 MB"):
        needs_of_checkpoint(checkpoint, 64, 1)


def test_the_context_is_what_there_is_room_for(tmp_path, monkeypatch):
    path = baby_model.write_gguf(tmp_path / "long.gguf", context=2**20)
    header = weights.check_model(path)
    assert needs_of(path, header).context_length == 8192
    monkeypatch.setattr(memory, "total", lambda: 2**24)
    few = needs_of(path, header, slots=2)
    assert few.context_length == 4096
    assert few.cache == 2**22
    with pytest.raises(MemoryShortError, match=r"long.gguf with a context of 1 x 1048576 tokens needs"):
        needs_of(path, header, 2**20, 1)
    with pytest.raises(EngineError, match="8 to 1048576, not 7"):
        needs_of(path, header, 7)
