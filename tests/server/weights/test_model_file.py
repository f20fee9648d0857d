import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

from mistral_client.server.weights import WeightsError, check_model


def write(path: Path, change=lambda writer: None, tensors=("blk.0.ffn_gate_exps.weight",), arch="llama") -> Path:
    """A model as far as its header goes."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_expert_count(8)
    writer.add_expert_used_count(2)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["a", "b", "c"])
    writer.add_token_scores([0.0, 1.0, 2.0])
    writer.add_token_types([1, 1, 1])
    change(writer)
    for name in tensors:
        writer.add_tensor(name, np.zeros(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def drop(*keys: str):
    def change(writer: gguf.GGUFWriter) -> None:
        for key in keys:
            del writer.kv_data[0][key]

    return change


def put(key: str, value: object, *types: gguf.GGUFValueType):
    def change(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop(key, None)
        writer.add_key_value(key, value, *types)

    return change


UINT32, INT32, FLOAT32 = gguf.GGUFValueType.UINT32, gguf.GGUFValueType.INT32, gguf.GGUFValueType.FLOAT32
STRING, ARRAY = gguf.GGUFValueType.STRING, gguf.GGUFValueType.ARRAY
NO_EXPERTS = drop("llama.expert_count", "llama.expert_used_count")


def test_the_baby_and_any_architecture_pass(baby_gguf, tmp_path):
    assert check_model(baby_gguf).metadata["llama.expert_count"] == 8
    assert check_model(write(tmp_path / "a.gguf", NO_EXPERTS)).tensors
    mamba = put("mamba.attention.head_count", 0, UINT32)
    assert check_model(write(tmp_path / "b.gguf", mamba, arch="mamba")).tensors
    per_layer = put("deci.attention.head_count", [4, 0], ARRAY, UINT32)
    assert check_model(write(tmp_path / "c.gguf", per_layer, arch="deci")).tensors


def test_a_mixtral_of_early_2024_is_recognised(tmp_path):
    path = write(tmp_path / "old.gguf", tensors=[f"blk.0.ffn_gate.{expert}.weight" for expert in range(8)])
    with pytest.raises(WeightsError) as caught:
        check_model(path)
    assert str(caught.value) == (
        f"{path} is a Mixtral GGUF of early 2024, which stores one tensor per expert; current llama.cpp reads only "
        "files with merged experts: download a newer conversion or convert again"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("general.architecture"), "does not name the architecture"),
        (put("general.architecture", 1, UINT32), "does not name the architecture"),
        (put("general.type", "adapter", STRING), r"companion of one \(adapter, llama\)"),
        (put("llama.block_count", 0, UINT32), "llama.block_count as 0"),
        (put("llama.block_count", 2**31, UINT32), "llama.block_count as 2147483648"),
        (put("llama.context_length", "x", STRING), "llama.context_length as 'x'"),
        (put("llama.attention.head_count", 0, UINT32), "head_count as 0"),
        (put("llama.attention.head_count_kv", [2, 0], ARRAY, UINT32), "head_count_kv as 0"),
        (put("llama.attention.head_count_kv", -2, INT32), "head_count_kv as -2"),
        (put("llama.attention.layer_norm_rms_epsilon", -1e-5, FLOAT32), "layer_norm_rms_epsilon as -"),
        (put("llama.attention.layer_norm_rms_epsilon", float("nan"), FLOAT32), "layer_norm_rms_epsilon as nan"),
        (put("llama.expert_used_count", 9, UINT32), "uses 9 of 8 experts"),
        (put("llama.expert_used_count", 0, UINT32), "uses 0 of 8 experts"),
        (put("llama.expert_count", 513, UINT32), "uses 2 of 513 experts"),
        (put("llama.expert_count", "many", STRING), "uses 2 of 'many' experts"),
        (drop("tokenizer.ggml.tokens"), "has no vocabulary"),
        (put("tokenizer.ggml.tokens", [1, 2, 3], ARRAY, INT32), "tokens does not fit"),
        (put("tokenizer.ggml.tokens", ["a", "b", "a"], ARRAY, STRING), "lists a token twice"),
        (put("tokenizer.ggml.tokens", "abc", STRING), "tokens does not fit"),
        (put("tokenizer.ggml.scores", [0.0, 1.0], ARRAY, FLOAT32), "scores does not fit"),
        (put("tokenizer.ggml.scores", [0, 1, 2], ARRAY, INT32), "scores does not fit"),
        (put("tokenizer.ggml.token_type", [1], ARRAY, INT32), "token_type does not fit"),
        (put("tokenizer.ggml.merges", [1], ARRAY, INT32), "merges does not fit"),
    ],
)
def test_what_would_end_the_process_is_refused(tmp_path, change, said):
    with pytest.raises(WeightsError, match=said):
        check_model(write(tmp_path / "model.gguf", change))


@pytest.mark.parametrize(
    ("kind", "shape"), [(np.int32, (2, 8)), (np.int8, (2, 8)), (np.float64, (2, 8)), (np.float16, (8,))]
)
def test_weights_of_types_that_do_not_compute_are_refused(tmp_path, kind, shape):
    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("blk.0.attn_norm.weight", np.zeros(shape, kind))

    with pytest.raises(WeightsError, match=r"stores 'blk\.0\.attn_norm\.weight' as [IF]\d+, which"):
        check_model(write(tmp_path / "model.gguf", change))
    with_tables = write(tmp_path / "other.gguf", change, arch="gemma3n")
    assert check_model(with_tables).tensors


def test_a_vocabulary_is_no_model(tmp_path):
    with pytest.raises(WeightsError, match="vocabulary without weights"):
        check_model(write(tmp_path / "vocab.gguf", tensors=()))


def part(number: int):
    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)

    return change


def test_a_model_in_parts_needs_all_of_them(tmp_path):
    first = write(tmp_path / "m-00001-of-00002.gguf", part(0))
    with pytest.raises(WeightsError, match=r"m-00002-of-00002\.gguf does not exist"):
        check_model(first)
    second = write(tmp_path / "m-00002-of-00002.gguf", part(1))
    assert check_model(first)
    with pytest.raises(WeightsError, match=r"name the first one, m-00001-of-00002\.gguf"):
        check_model(second)
    with pytest.raises(WeightsError, match="must end like -00001-of-00002"):
        check_model(shutil.copy(first, tmp_path / "renamed.gguf"))
    second.write_bytes(second.read_bytes()[:-40])
    with pytest.raises(WeightsError, match=r"m-00002-of-00002\.gguf is cut short"):
        check_model(first)
