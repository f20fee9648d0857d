import io
import json
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mistral_client.server.weights import WeightsError, baby, check_checkpoint, resolve

safetensors = pytest.importorskip("safetensors.numpy")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return baby.write_safetensors(tmp_path_factory.mktemp("checkpoint") / "baby")


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "baby")


def change(path: Path, **values):
    """Set values in a JSON file; `...` takes one out."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


def refused(folder, said):
    with pytest.raises(WeightsError, match=said) as caught:
        check_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_the_baby_passes(folder):
    checkpoint = check_checkpoint(folder)
    assert checkpoint.control_tokens == {"<unk>": 0, "<s>": 1, "</s>": 2}
    assert checkpoint.chat_template == baby.CHAT_TEMPLATE
    assert (checkpoint.dtype, checkpoint.item_bytes) == ("float32", 4)
    assert len(checkpoint.tensors) == 3 + baby.LAYERS * (7 + 3 * baby.EXPERTS)
    assert checkpoint.weight_bytes == sum(tensor.size for tensor in checkpoint.tensors.values())
    assert resolve(folder) == resolve(str(folder)) == folder


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_type": ...}, "does not name the type"),
        ({"model_type": "../x"}, "does not name the type"),
        ({"architectures": ["MixtralForSequenceClassification"]}, "no language model"),
        ({"architectures": ...}, "no language model"),
        ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, r"code of its own to be run \(auto_map\)"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantised weights"),
        ({"hidden_size": 0}, "hidden_size as 0"),
        ({"hidden_size": "64"}, "hidden_size as '64'"),
        ({"hidden_size": ...}, "hidden_size as None"),
        ({"hidden_size": 2**40}, "hidden_size as 1099511627776"),
        ({"num_hidden_layers": 0}, "num_hidden_layers as 0"),
        ({"num_hidden_layers": True}, "num_hidden_layers as True"),
        ({"num_attention_heads": 0}, "num_attention_heads as 0"),
        ({"num_key_value_heads": 0}, "num_key_value_heads as 0"),
        ({"num_key_value_heads": 3}, "divides neither"),
        ({"head_dim": ..., "num_attention_heads": 6}, "divides neither"),
        ({"num_experts_per_tok": 0}, "num_experts_per_tok as 0"),
        ({"num_experts_per_tok": 9}, "uses 9 of 8 experts"),
        ({"max_position_embeddings": -1}, "max_position_embeddings as -1"),
        ({"vocab_size": 577}, "578 tokens and a model for 577"),
        ({"vocab_size": 579}, "in the shape"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps as -1e-05"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps as nan"),
        ({"rope_theta": 0}, "rope_theta as 0"),
        ({"rope_theta": float("inf")}, "rope_theta as inf"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "rope_scaling.factor as 0"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": "x"}}, "rope_parameters.factor as 'x'"),
        ({"intermediate_size": ...}, "no intermediate_size"),
        ({"intermediate_size": 64}, r"w1\.weight' in the shape \(128, 64\) where its config.json asks for \(64, 64\)"),
        ({"num_hidden_layers": 3}, r"lacks the tensor 'model\.layers\.2\."),
        ({"num_hidden_layers": 1}, r"holds the tensor 'model\.layers\.1\..*knows nothing"),
        ({"num_local_experts": 16}, "gate.weight' in the shape"),
        ({"model_type": "mistral"}, r"lacks the tensor 'model\.layers\.0\.mlp"),
        ({"attention_bias": True}, r"lacks the tensor .*q_proj\.bias"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(folder, values, said):
    change(folder / "config.json", **values)
    refused(folder, said)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b'{"a": 1, "a": 1}', b"[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_files_that_are_no_json_objects_are_refused(folder, name, text):
    (folder / name).write_bytes(text)
    refused(folder, rf"{name} is damaged")


def test_what_is_missing_is_named(folder):
    for name, said in {"tokenizer.json": "no tokenizer.json", "config.json": "no config.json"}.items():
        (folder / name).unlink()
        refused(folder, said)
    (folder / "params.json").write_text("{}")
    refused(folder, "Mistral's own layout")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": {"type": "Unigram", "vocab": []}}, "kind BPE"),
        ({"model": []}, "kind BPE"),
        ({"model": {"type": "BPE", "vocab": {}, "merges": 1}}, "no merges"),
        ({"model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": []}, "without an id"),
        ({"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}}, "without an id"),
        ({"added_tokens": [{"id": -1, "content": "<s>", "special": True}]}, "without an id"),
        ({"added_tokens": [{"id": 1, "content": "", "special": True}]}, "without a name or an id"),
        ({"added_tokens": [{"id": 1, "content": "<s>"}]}, "without a name or an id"),
        ({"added_tokens": [{"id": 2**40, "content": "<x>", "special": True}]}, "a model for 578"),
    ],
)
def test_a_tokenizer_that_cannot_be_is_refused(folder, values, said):
    change(folder / "tokenizer.json", **values)
    refused(folder, said)


def test_what_looks_like_a_control_token_is_one(folder):
    tokens = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    word = {**tokens[0], "special": False}
    added = [{**word, "id": 577, "content": "<|im_start|>"}, {**word, "id": 576, "content": "\n\n"}]
    change(folder / "tokenizer.json", added_tokens=[*tokens, *added])
    assert check_checkpoint(folder).control_tokens == {"<unk>": 0, "<s>": 1, "</s>": 2, "<|im_start|>": 577}


def test_templates_are_found_where_they_are_kept(folder):
    change(folder / "tokenizer_config.json", chat_template=[{"name": "tools", "template": "T"}])
    assert check_checkpoint(folder).chat_template == ""
    named = [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]
    change(folder / "tokenizer_config.json", chat_template=named)
    assert check_checkpoint(folder).chat_template == "D"
    (folder / "chat_template.jinja").write_text("J")
    assert check_checkpoint(folder).chat_template == "J"
    (folder / "chat_template.jinja").write_text("x" * (2**20 + 1))
    refused(folder, "larger than 1 MiB")
    (folder / "chat_template.jinja").unlink()
    change(folder / "tokenizer_config.json", chat_template=1)
    refused(folder, "template that is none")
    (folder / "tokenizer_config.json").unlink()
    assert check_checkpoint(folder).chat_template == ""


# Several files


def split(folder, parts=2):
    """The weights in several files with an index, as those of a large model are."""
    tensors = safetensors.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for part in range(parts):
        name = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        share = {key: value for number, (key, value) in enumerate(tensors.items()) if number % parts == part}
        safetensors.save_file(share, folder / name)
        weight_map |= dict.fromkeys(share, name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return weight_map, index


def test_a_model_in_several_files_passes(folder):
    whole = check_checkpoint(folder)
    split(folder, 3)
    parts = check_checkpoint(folder)
    assert parts.tensors.keys() == whole.tensors.keys()
    assert parts.weight_bytes == whole.weight_bytes
    assert resolve(folder) == folder


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "pytorch_model.bin", "a\0.safetensors", 1],
)
def test_an_index_names_files_beside_it_alone(folder, name):
    weight_map, index = split(folder)
    change(index, weight_map=weight_map | {"lm_head.weight": name})
    refused(folder, "no safetensors file beside it")


def test_an_index_and_its_files_say_the_same(folder):
    weight_map, index = split(folder)
    first, second = sorted(set(weight_map.values()))
    change(index, weight_map=weight_map | {"more": first})
    refused(folder, "lists 'more', which its file does not hold")
    elsewhere = next(key for key, name in weight_map.items() if name == first)
    change(index, weight_map=weight_map | {elsewhere: second})
    refused(folder, "does not list")
    change(index, weight_map=[])
    refused(folder, "does not say where")
    change(index, weight_map={})
    refused(folder, "holds no weights")
    change(index, weight_map=weight_map)
    (folder / second).unlink()
    refused(folder, f"{second} does not exist")
    (folder / second).symlink_to(second)
    refused(folder, f"{second} cannot be read")


def test_links_to_where_the_hub_keeps_files_are_followed(folder, tmp_path):
    shutil.move(folder / "model.safetensors", tmp_path / "blob")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    assert check_checkpoint(folder).tensors


# Other kinds of models


def dense(folder, **values):
    """The baby as a dense model."""
    tensors = safetensors.load_file(folder / "model.safetensors")
    made = {}
    for name, tensor in tensors.items():
        block, found, part = name.partition(".block_sparse_moe.experts.0.")
        if found:
            renamed = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}[part.partition(".")[0]]
            made[f"{block}.mlp.{renamed}.weight"] = tensor
        elif "block_sparse_moe" not in name:
            made[name] = tensor
    safetensors.save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    experts = {"num_local_experts": ..., "num_experts_per_tok": ...}
    change(
        folder / "config.json",
        **{"model_type": "mistral", "architectures": ["MistralForCausalLM"], **experts, **values},
    )
    return made


def test_a_dense_mistral_passes(folder):
    tensors = dense(folder)
    assert check_checkpoint(folder).tensors.keys() == tensors.keys()


def test_tied_words_and_numbers_that_are_no_weights(folder):
    tensors = dense(folder, model_type="llama", architectures=["LlamaForCausalLM"], tie_word_embeddings=True)
    del tensors["lm_head.weight"]
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    safetensors.save_file(tensors, folder / "model.safetensors")
    assert check_checkpoint(folder)
    change(folder / "config.json", tie_word_embeddings=False)
    refused(folder, "lacks the tensor 'lm_head.weight'")


def test_integers_are_no_weights(folder):
    tensors = safetensors.load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = np.ones(baby.HIDDEN, np.int32)
    safetensors.save_file(tensors, folder / "model.safetensors")
    refused(folder, "stores 'model.norm.weight' as I32")


def test_the_type_of_the_numbers(folder):
    change(folder / "config.json", torch_dtype="bfloat16")
    checkpoint = check_checkpoint(folder)
    assert checkpoint.weight_bytes == sum(tensor.size for tensor in checkpoint.tensors.values()) // 2
    change(folder / "config.json", torch_dtype=...)
    assert check_checkpoint(folder).dtype == "float32"
    change(folder / "config.json", model_type="qwen3")
    safetensors.save_file({"x": np.ones(4, np.int8)}, folder / "model.safetensors")
    refused(folder, "as I8, which is not computed with")


def test_shapes_of_models_that_are_not_known_here_are_left_to_transformers(folder):
    change(folder / "config.json", model_type="qwen3", architectures=["Qwen3ForCausalLM"])
    assert check_checkpoint(folder)


# What is no checkpoint


def test_folders_of_gguf_files_are_still_told_apart(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(WeightsError, match=r"is a folder; name the \.gguf file, of which there is none in it"):
        resolve(other)
    (other / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="does not name the type"):
        resolve(other)
    (other / "m.gguf").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"is a folder; name the \.gguf file in it, such as m\.gguf"):
        resolve(other)
    with pytest.raises(WeightsError, match="it is a safetensors file; name the folder of the whole checkpoint"):
        resolve(folder / "model.safetensors")


def test_an_adapter_is_no_model(folder):
    (folder / "adapter_config.json").write_text("{}")
    refused(folder, "holds an adapter")


def packed(mode):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("model.safetensors"), io.BytesIO())
    return content.getvalue()


def zipped():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return content.getvalue()


OTHERS = {
    "pickle": (pickle.dumps({}, 2), "Python pickle, which can run any code and is never loaded; use"),
    "zip": (zipped(), "zip archive"),
    "tar": (packed("w"), "tar archive, and archives are not opened"),
    "gz": (packed("w:gz"), "packed as gzip"),
    "xz": (packed("w:xz"), "packed as xz"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "consolidated.00.pth", "weights"])
def test_other_weights_are_refused_by_their_content(folder, name, kind):
    content, said = OTHERS[kind]
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    before = sorted(folder.iterdir())
    refused(folder, said)
    assert sorted(folder.iterdir()) == before
