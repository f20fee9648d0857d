"""Is this folder a checkpoint that Transformers can load?

A checkpoint is `config.json`, weights in safetensors and `tokenizer.json`. All of it is read as data and held against
each other before Transformers sees it. Nothing else in the folder is opened, and code that a configuration names is a
reason to refuse it, for a model that needs that would be another without it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint_json import read_bytes, read_object
from .errors import WeightsError
from .file_kind import START, what_it_is
from .safetensors_header import ITEM_BYTES, StoredTensor, read_safetensors_header

_ADVICE = "download the model as safetensors, in the layout of Transformers"

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"

_MAX_JSON = 64 * 2**20
"""Bytes of a tokenizer; those of the largest vocabularies take about 35 MB. The other files are far smaller."""

_MAX_TEMPLATE = 2**20

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\.safetensors")

_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

_SIZES = {
    "hidden_size": (1, 2**20),
    "num_hidden_layers": (1, 512),
    "num_attention_heads": (1, 2**14),
    "num_key_value_heads": (1, 2**14),
    "head_dim": (1, 2**16),
    "intermediate_size": (1, 2**24),
    "vocab_size": (1, 2**24),
    "max_position_embeddings": (1, 2**27),
    "num_local_experts": (1, 512),
    "num_experts_per_tok": (1, 512),
}
"""Least and most. The bounds are far from any model."""

_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings")

_SHAPED = ("llama", "mistral", "mixtral")
"""Types of models whose tensors are known here by name and shape; those of others are left to Transformers."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that was looked through, and what it says."""

    folder: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    """`generation_config.json`, empty where there is none."""
    tokenizer: Mapping[str, Any]
    """`tokenizer.json`."""
    chat_template: str
    tensors: Mapping[str, StoredTensor]
    dtype: str
    """Of the numbers once they are loaded: `float32`, `float16` or `bfloat16`."""

    @property
    def item_bytes(self) -> int:
        """Bytes of one number, of the weights as well as of the cache."""
        return ITEM_BYTES[_DTYPES[self.dtype]]

    @property
    def weight_bytes(self) -> int:
        """What the weights take once they are loaded."""
        return sum(tensor.items for tensor in self.tensors.values()) * self.item_bytes

    @property
    def control_tokens(self) -> dict[str, int]:
        """The tokens with a meaning of their own, and those that look so, by their names."""
        return {token["content"]: token["id"] for token in self.tokenizer["added_tokens"] if is_control(token)}


def is_control(added_token: Mapping[str, Any]) -> bool:
    """Whether an entry of `added_tokens` must not come out of plain text."""
    # Files exist that declare <|im_start|> as a word.
    return bool(added_token["special"]) or re.fullmatch(r"<.+>|\[.+\]", added_token["content"]) is not None


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is meant to be a checkpoint, sound or not, and no folder of GGUF files."""
    if any(folder.glob("*.safetensors")) or (folder / _INDEX).exists():
        return True
    known = ("config.json", *_PICKLES)
    return any(any(folder.glob(name)) for name in known) and not any(folder.glob("*.gguf"))


def check_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """Read and check a checkpoint, all but the numbers.

    Raises `WeightsError` when a file is missing or broken, contradicts another, or would be code.
    """
    folder = Path(folder)
    config = _config(folder)
    tensors = _tensors(folder)
    tokenizer, last = _tokenizer(folder)
    if last >= config["vocab_size"]:
        raise WeightsError(
            f"{folder} has a tokenizer with {last + 1} tokens and a model for {config['vocab_size']}: "
            "the files are of different models; download it again"
        )
    if config["model_type"] in _SHAPED:
        _check_shapes(folder, config, tensors)
    generation = folder / "generation_config.json"
    return Checkpoint(
        folder,
        config,
        read_object(generation, _MAX_JSON) if generation.exists() else {},
        tokenizer,
        _chat_template(folder),
        tensors,
        _dtype(folder, config, tensors),
    )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.exists():
        if (folder / "params.json").exists():
            raise WeightsError(f"{folder} has Mistral's own layout, with params.json; {_ADVICE}")
        raise WeightsError(f"{folder} has no config.json, so it is no checkpoint; {_ADVICE}")
    config = read_object(path, _MAX_JSON)
    if (folder / "adapter_config.json").exists():
        raise WeightsError(f"{folder} holds an adapter; merge it into its model, and name the folder of that")
    if "auto_map" in config:
        raise WeightsError(f"{path} asks for code of its own to be run (auto_map), which is never done")
    if "quantization_config" in config:
        raise WeightsError(
            f"{path} speaks of quantised weights, which only run on other machines or with further packages; "
            "download the model as it was, or quantised as GGUF"
        )
    kind, architectures = config.get("model_type"), config.get("architectures")
    if not isinstance(kind, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", kind):
        raise WeightsError(f"{path} does not name the type of its model; {_ADVICE}")
    if not isinstance(architectures, list) or not any(str(name).endswith("ForCausalLM") for name in architectures):
        raise WeightsError(f"{path} describes no language model that goes on from a text: {architectures!r:.80}")
    _check_sizes(path, config)
    return config


def _check_sizes(path: Path, config: Mapping[str, Any]) -> None:
    for name, (least, most) in _SIZES.items():
        value = config.get(name)
        if value is None and name not in _NEEDED:
            continue
        if type(value) is not int or not least <= value <= most:
            raise WeightsError(f"{path} gives {name} as {value!r:.40}; download another conversion")
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    if heads % key_value_heads(config) or (config.get("head_dim") is None and hidden % heads):
        raise WeightsError(f"{path} divides neither its heads nor its numbers evenly; download another conversion")
    experts, used = config.get("num_local_experts"), config.get("num_experts_per_tok")
    if experts is not None and (used or 2) > experts:
        raise WeightsError(f"{path} uses {used} of {experts} experts; download another conversion")
    numbers = {name: config.get(name) for name in ("rms_norm_eps", "rope_theta")}
    for name in ("rope_scaling", "rope_parameters"):
        stretched = config.get(name)
        numbers[f"{name}.factor"] = stretched.get("factor") if isinstance(stretched, dict) else None
    for name, value in numbers.items():
        if value is not None and (type(value) not in {int, float} or not 0 < value < math.inf):
            raise WeightsError(f"{path} gives {name} as {value!r:.40}; download another conversion")


def key_value_heads(config: Mapping[str, Any]) -> int:
    """Heads of keys and values of a checked configuration."""
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def head_size(config: Mapping[str, Any]) -> int:
    """Numbers that each head works with, of a checked configuration."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    # In the order in which Transformers looks for them.
    if (folder / _SINGLE).exists():
        tensors = read_safetensors_header(folder / _SINGLE)
    elif (folder / _INDEX).exists():
        tensors = _indexed(folder, folder / _INDEX)
    else:
        raise WeightsError(f"{folder} has no {_SINGLE}{_in_place_of_weights(folder)}; {_ADVICE}")
    if not tensors:
        raise WeightsError(f"{folder} holds no weights; {_ADVICE}")
    return tensors


def _in_place_of_weights(folder: Path) -> str:
    """What lies there instead, told from its content. Nothing is unpacked or loaded."""
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.suffix in {".json", ".txt", ".md", ".py", ".model", ".jinja"}:
            continue
        with path.open("rb") as file:
            what = what_it_is(file.read(START), path.stat().st_size, "safetensors")
        if what is not None:
            return f", and of {path.name}: {what}"
    return ""


def _indexed(folder: Path, index: Path) -> dict[str, StoredTensor]:
    weight_map = read_object(index, _MAX_JSON).get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightsError(f"{index} does not say where the tensors are; download it again")
    for name in weight_map.values():
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
            raise WeightsError(f"{index} names {name!r:.80}, which is no safetensors file beside it")
    tensors: dict[str, StoredTensor] = {}
    for name in sorted(set(weight_map.values())):
        for tensor in read_safetensors_header(folder / name).values():
            if weight_map.get(tensor.name) != name:
                raise WeightsError(f"{index} does not list {tensor.name!r} in {name}, where it is; download it again")
            tensors[tensor.name] = tensor
    missing = sorted(weight_map.keys() - tensors.keys())
    if missing:
        raise WeightsError(f"{index} lists {missing[0]!r}, which its file does not hold; download it again")
    return tensors


def _dtype(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, StoredTensor]) -> str:
    named = config.get("dtype", config.get("torch_dtype"))
    if named in _DTYPES:
        return str(named)
    largest = max(tensors.values(), key=lambda tensor: tensor.size).dtype
    for name, stored in _DTYPES.items():
        if stored == largest:
            return name
    raise WeightsError(f"{folder} stores its weights as {largest}, which is not computed with; {_ADVICE}")


def _tokenizer(folder: Path) -> tuple[dict[str, Any], int]:
    """`tokenizer.json`, and the last id in it."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise WeightsError(f"{folder} has no tokenizer.json, so it cannot read text; {_ADVICE}")
    tokenizer = read_object(path, _MAX_JSON)
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens")
    # WordPiece and the like are of other kinds of models.
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise WeightsError(f"{path} is no tokenizer of the kind BPE, which alone is read")
    if not isinstance(added, list) or not all(map(_is_added_token, added)):
        raise WeightsError(f"{path} has control tokens without a name or an id; download it again")
    merges = model.get("merges")
    if not isinstance(merges, list) or not all(isinstance(merge, str | list) for merge in merges):
        raise WeightsError(f"{path} has no merges; download it again")
    ids = [*model["vocab"].values(), *(token["id"] for token in added)]
    if not ids or not all(type(token) is int and token >= 0 for token in ids):
        raise WeightsError(f"{path} has tokens without an id; download it again")
    return tokenizer, max(ids)


def _is_added_token(token: object) -> bool:
    return (
        isinstance(token, dict)
        and isinstance(token.get("content"), str)
        and token["content"] != ""
        and type(token.get("id")) is int
        and isinstance(token.get("special"), bool)
    )


def _chat_template(folder: Path) -> str:
    """The template for chats; of several, that which is called default."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return _template(path, read_bytes(path, _MAX_TEMPLATE).decode("utf-8", "replace"))
    path = folder / "tokenizer_config.json"
    template = read_object(path, _MAX_JSON).get("chat_template") if path.exists() else None
    if isinstance(template, list):
        named = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
        template = named[0].get("template") if named else None
    return "" if template is None else _template(path, template)


def _template(path: Path, template: object) -> str:
    if not isinstance(template, str) or len(template) > _MAX_TEMPLATE:
        raise WeightsError(f"{path} has a chat template that is none; download it again")
    return template


def _check_shapes(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, StoredTensor]) -> None:
    """Hold the tensors of a Llama, Mistral or Mixtral against the configuration, name by name."""
    expected = dict(_expected(config))
    for name, shape in expected.items():
        tensor = tensors.get(name)
        if tensor is None:
            if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                continue
            raise WeightsError(f"{folder} lacks the tensor {name!r}, which its config.json asks for; download it again")
        if tensor.shape != shape:
            raise WeightsError(
                f"{folder} holds {name!r} in the shape {tensor.shape} where its config.json asks for {shape}; "
                "download it again"
            )
        if tensor.dtype not in _DTYPES.values():
            raise WeightsError(f"{folder} stores {name!r} as {tensor.dtype}, which is not computed with; {_ADVICE}")
    for name in tensors:
        if name not in expected and not name.endswith("rotary_emb.inv_freq"):
            raise WeightsError(f"{folder} holds the tensor {name!r}, of which its config.json knows nothing")


def _expected(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    wide = config.get("intermediate_size")
    if wide is None:
        raise WeightsError("config.json gives no intermediate_size; download another conversion")
    queries, keys = config["num_attention_heads"] * head_size(config), key_value_heads(config) * head_size(config)
    matrices = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
    }
    biased = list(matrices) if config.get("attention_bias") else []
    if config["model_type"] == "mixtral":
        experts = config.get("num_local_experts", 8)
        matrices["block_sparse_moe.gate"] = (experts, hidden)
        for expert in range(experts):
            name = f"block_sparse_moe.experts.{expert}"
            matrices |= {f"{name}.w1": (wide, hidden), f"{name}.w2": (hidden, wide), f"{name}.w3": (wide, hidden)}
    else:
        matrices |= {"mlp.gate_proj": (wide, hidden), "mlp.up_proj": (wide, hidden), "mlp.down_proj": (hidden, wide)}
        biased += [name for name in matrices if name.startswith("mlp.") and config.get("mlp_bias")]
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocabulary, hidden)
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        yield f"{block}.input_layernorm.weight", (hidden,)
        yield f"{block}.post_attention_layernorm.weight", (hidden,)
        for name, shape in matrices.items():
            yield f"{block}.{name}.weight", shape
        for name in biased:
            yield f"{block}.{name}.bias", matrices[name][:1]
