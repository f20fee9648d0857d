"""The example for Transformers runs on what the baby Mixtral is exported to, and says what our engine says."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from mistral_client.server.engine import Sampling
from mistral_client.server.engines.transformers import TransformersEngine
from mistral_client.server.prompt import Turn, prompt_format
from mistral_client.server.weights.export import export_safetensors
from tests.test_examples import ROOT


def test_the_example_says_what_our_engine_says(pair, tmp_path, listener):
    folder = export_safetensors(pair.gguf, tmp_path / "baby", progress=False)
    ran = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "transformers_generate.py", folder],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    heard = listener()
    with TransformersEngine(folder, threads=1) as engine:
        laid_out = prompt_format(engine.chat_template, engine.token_id)
        prompt = engine.tokenize(laid_out.parts([Turn("user", "What is the capital of France?")]))
        engine.generate(prompt, Sampling(temperature=0, max_tokens=40), heard)
    assert len(heard.text) > 20
    assert ran.stdout.strip() == heard.text.strip()
