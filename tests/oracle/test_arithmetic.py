"""Both engines, and the router in particular, against plain arithmetic."""

import json
import math

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from safetensors.numpy import load_file

from mistral_client.server.engine import Sampling
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.engines.transformers import TransformersEngine
from mistral_client.server.weights import baby
from tests.oracle.arithmetic import Mixtral


@pytest.fixture(scope="module")
def arithmetic(pair):
    config = json.loads((pair.safetensors / "config.json").read_text())
    return Mixtral(config, load_file(pair.safetensors / "model.safetensors"))


@pytest.fixture(scope="module")
def theirs(pair):
    return transformers.AutoModelForCausalLM.from_pretrained(pair.safetensors)


@pytest.mark.parametrize("layer", range(baby.LAYERS))
def test_the_router(arithmetic, theirs, layer):
    """Softmax over eight, the two largest, and those brought to a sum of one."""
    name = f"model.layers.{layer}"
    hidden = np.random.default_rng(layer).standard_normal((200, baby.HIDDEN))
    logits = hidden @ arithmetic.weights[f"{name}.block_sparse_moe.gate.weight"].T
    chosen, shares = arithmetic.routed(name, hidden)
    # By hand: the share of an expert among two is the exponential of its logit, over the sum of both.
    for row, experts, parts in zip(logits, chosen, shares, strict=True):
        assert set(experts) == set(np.argsort(row)[-2:])
        one, other = (math.exp(row[expert]) for expert in experts)
        assert parts == pytest.approx([one / (one + other), other / (one + other)])
    assert len(np.unique(chosen)) == baby.EXPERTS

    block = theirs.model.layers[layer].mlp
    with torch.inference_mode():
        _, weights, indices = block.gate(torch.tensor(hidden, dtype=torch.float32))
        output = block(torch.tensor(hidden, dtype=torch.float32)[None])
    order = np.argsort(-weights.numpy(), -1)
    assert np.array_equal(np.take_along_axis(indices.numpy(), order, -1), chosen)
    np.testing.assert_allclose(np.take_along_axis(weights.numpy(), order, -1), shares, atol=1e-5)
    output = output[0] if isinstance(output, tuple) else output
    np.testing.assert_allclose(output[0].numpy(), arithmetic.experts(name, hidden), atol=1e-4)


def test_both_engines_compute_what_the_arithmetic_does(arithmetic, pair, listener):
    with LlamaCppEngine(pair.gguf, slots=1, threads=1) as one, TransformersEngine(pair.safetensors, threads=1) as other:
        tokens = one.tokenize([1, "[INST] What is in a name? Now find your way to the water. [/INST]"])
        heard = listener(), listener()
        one.generate(tokens, Sampling(temperature=0, max_tokens=16, logprobs=5), heard[0])
        other.generate(tokens, Sampling(temperature=0, max_tokens=16, logprobs=5), heard[1])
    for position in range(16):
        logits = arithmetic.logits(tokens)[-1]
        logprobs = logits - logits.max()
        logprobs -= math.log(np.exp(logprobs).sum())
        token = int(logits.argmax())
        for each in heard:
            entry = each.tokens[position]
            assert entry.id == token
            assert entry.logprob == pytest.approx(logprobs[token], abs=1e-3)
            for other_entry in entry.top:
                assert other_entry.logprob == pytest.approx(logprobs[other_entry.id], abs=1e-3)
        tokens.append(token)
