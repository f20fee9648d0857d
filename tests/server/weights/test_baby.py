import json

import numpy as np
import pytest

from mistral_client.server.weights import baby, check_model

safetensors = pytest.importorskip("safetensors.numpy")


def test_llama_cpp_loads_it_and_answers(baby_gguf):
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(baby_gguf)
    parameters.n_ctx = 128
    parameters.n_parallel = 1
    parameters.verbosity = -1
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    answer = server.handle_completions({"prompt": "hello world", "n_predict": 3, "temperature": 0, "ignore_eos": True})
    assert answer["choices"][0]["text"].isprintable()
    # The beginning token and two merged words, each with its space.
    assert answer["usage"] == answer["usage"] | {"prompt_tokens": 3, "completion_tokens": 3}


def test_the_same_seed_gives_the_same_files(baby_gguf, tmp_path):
    assert baby.write_gguf(tmp_path / "again.gguf").read_bytes() == baby_gguf.read_bytes()
    assert baby.write_gguf(tmp_path / "other.gguf", seed=1).read_bytes() != baby_gguf.read_bytes()
    assert check_model(baby.write_gguf(tmp_path / "short.gguf", context=64)).metadata["llama.context_length"] == 64


def test_the_safetensors_checkpoint_holds_what_its_config_says(tmp_path):
    folder = baby.write_safetensors(tmp_path / "baby", context=64)
    config = json.loads((folder / "config.json").read_text())
    weights = safetensors.load_file(folder / "model.safetensors")
    assert config["architectures"] == ["MixtralForCausalLM"]
    assert config["max_position_embeddings"] == 64
    assert len(weights) == 3 + config["num_hidden_layers"] * (7 + 3 * config["num_local_experts"])
    assert {weight.dtype for weight in weights.values()} == {np.dtype(np.float32)}
    vocabulary, hidden = config["vocab_size"], config["hidden_size"]
    assert vocabulary == len(baby.vocabulary())
    assert weights["lm_head.weight"].shape == weights["model.embed_tokens.weight"].shape == (vocabulary, hidden)
    assert weights["model.layers.1.self_attn.k_proj.weight"].shape == (2 * config["head_dim"], hidden)
    assert weights["model.layers.1.block_sparse_moe.experts.7.w2.weight"].shape == (hidden, 128)


def test_both_files_hold_the_same_weights(baby_gguf, tmp_path):
    gguf = pytest.importorskip("gguf")
    theirs = safetensors.load_file(baby.write_safetensors(tmp_path) / "model.safetensors")
    ours = {tensor.name: tensor.data for tensor in gguf.GGUFReader(baby_gguf).tensors}
    for expert in range(8):
        name = f"model.layers.0.block_sparse_moe.experts.{expert}.w2.weight"
        np.testing.assert_array_equal(ours["blk.0.ffn_down_exps.weight"][expert], theirs[name])
    # Of each head, Transformers turns row i with row i + 8, llama.cpp row 2 i with row 2 i + 1.
    key = theirs["model.layers.1.self_attn.k_proj.weight"].reshape(2, 2, 8, 64)
    turned = ours["blk.1.attn_k.weight"].reshape(2, 8, 2, 64)
    np.testing.assert_array_equal(turned[:, :, 0], key[:, 0])
    np.testing.assert_array_equal(turned[:, :, 1], key[:, 1])
