"""What a model is said to need is what it takes."""

import subprocess
import sys

import pytest

from mistral_client.server import memory, weights
from mistral_client.server.engine import EngineError, MemoryShortError
from mistral_client.server.engines.needs import needs_of
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


def test_the_cache_is_keys_and_values_in_float16(baby):
    header = weights.check_model(baby)
    needs = needs_of(baby, header, 1000, 3)
    per_token = 2 * baby_model.LAYERS * baby_model.KEY_VALUE_HEADS * baby_model.HEAD * 2
    assert needs.cache == 3 * 1000 * per_token
    assert needs.weights == baby.stat().st_size


def test_the_context_is_what_there_is_room_for(tmp_path, monkeypatch):
    path = baby_model.write_gguf(tmp_path / "long.gguf", context=2**20)
    header = weights.check_model(path)
    assert needs_of(path, header).context_length == 8192
    monkeypatch.setattr(memory, "total", lambda: 2**23)
    few = needs_of(path, header, slots=2)
    assert few.context_length == 4096
    assert few.cache == 2**21
    with pytest.raises(MemoryShortError, match=r"long.gguf with a context of 1 x 1048576 tokens needs"):
        needs_of(path, header, 2**20, 1)
    with pytest.raises(EngineError, match="8 to 1048576, not 7"):
        needs_of(path, header, 7)
