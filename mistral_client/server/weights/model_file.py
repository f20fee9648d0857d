"""Is this GGUF file a model that llama.cpp can load?

What is checked is what llama.cpp takes on trust, reading past the end of an array or ending the process where it is
wrong, and files that are common and need a clear word. The names of architectures are left to llama.cpp.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

from .errors import WeightsError
from .gguf_header import Header, ValueType, read_header

_ONE_EXPERT = re.compile(r"blk\.\d+\.ffn_(gate|up|down)\.\d+\.weight")

_BLOCK = re.compile(r"^blk\.\d+\.")

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")

_VOCABULARY = {
    "tokenizer.ggml.tokens": ValueType.STRING,
    "tokenizer.ggml.scores": ValueType.FLOAT32,
    "tokenizer.ggml.token_type": ValueType.INT32,
    "tokenizer.ggml.merges": ValueType.STRING,
}
"""llama.cpp reads scores and types by the index of the token, without a look at how many there are."""

_SIZES = {
    "block_count": (1, 512),  # LLAMA_MAX_LAYERS
    "context_length": (1, 2**27),
    "embedding_length": (1, 2**20),
    "feed_forward_length": (0, 2**24),
    "attention.head_count": (0, 2**14),
    "attention.head_count_kv": (0, 2**14),
}
"""Least and most. The bounds are far from any model, and near enough that products of them fit 32 bits and more."""

_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types

_F32 = 0  # gguf.GGMLQuantizationType

_INTERLEAVED = {2, 12, 20}
"""Q4_0, Q4_K and IQ4_NL, of which llama.cpp computes with several rows at a time where the processor can."""

_MAX_EXPERTS = 512  # LLAMA_MAX_EXPERTS


def check_model(path: str | os.PathLike[str]) -> Header:
    """Read and check the header of a model in GGUF. Of a model in several files it is that of the first one, with the
    tensors of all.

    Raises `WeightsError` when the file is broken, holds no language model, or is known not to load.
    """
    path = Path(path)
    header = read_header(path)
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise WeightsError(f"{path} does not name the architecture of a model; download another conversion")
    kind = header.metadata.get("general.type", "model")
    if kind != "model" or architecture == "clip":
        raise WeightsError(f"{path} holds no language model but a part or companion of one ({kind}, {architecture})")
    later = [tensor for part in _later_parts(path, header) for tensor in read_header(part).tensors]
    header = replace(header, tensors=(*header.tensors, *later))
    if any(_ONE_EXPERT.fullmatch(tensor.name) for tensor in header.tensors):
        raise WeightsError(
            f"{path} is a Mixtral GGUF of early 2024, which stores one tensor per expert; current llama.cpp reads "
            "only files with merged experts: download a newer conversion or convert again"
        )
    if not header.tensors:
        raise WeightsError(f"{path} holds a vocabulary without weights; name a file with the whole model")
    _check_tensors(path, header, architecture)
    _check_sizes(path, header, architecture)
    _check_experts(path, header, architecture)
    _check_vocabulary(path, header)
    if architecture == "llama":
        _check_shapes(path, header)
    return header


def _check_tensors(path: Path, header: Header, architecture: str) -> None:
    if architecture != "llama":  # others are known to hold tables of integers
        return
    import gguf  # noqa: PLC0415

    kinds = gguf.GGMLQuantizationType
    no_weights = {kinds.I8, kinds.I16, kinds.I32, kinds.I64, kinds.F64, kinds.Q8_K}
    for tensor in header.tensors:
        # Norms and biases are float32 even in files of float16.
        if tensor.type in no_weights or (len(tensor.shape) < 2 and tensor.type != kinds.F32):
            stored = kinds(tensor.type).name
            raise WeightsError(
                f"{path} stores {tensor.name!r} as {stored}, which is not computed with; convert it again"
            )


def _check_sizes(path: Path, header: Header, architecture: str) -> None:
    for name, (low, high) in _SIZES.items():
        key = f"{architecture}.{name}"
        # Models without attention write 0 heads; to a Llama, which Mixtral is to llama.cpp, it is a division by zero.
        least = 1 if architecture == "llama" else low
        value = header.metadata.get(key, [])  # what is missed llama.cpp says itself
        for count in value if isinstance(value, list) else [value]:  # a list has one number a layer
            if not _is_count(count) or not least <= count <= high:
                raise WeightsError(f"{path} gives {key} as {count!r:.40}; download another conversion")
    for name in ("layer_norm_epsilon", "layer_norm_rms_epsilon"):
        epsilon = header.metadata.get(f"{architecture}.attention.{name}", 0.0)
        if not isinstance(epsilon, float) or not 0.0 <= epsilon < 1.0:
            raise WeightsError(f"{path} gives {name} as {epsilon!r:.40}; download another conversion")


def _check_experts(path: Path, header: Header, architecture: str) -> None:
    count = header.metadata.get(f"{architecture}.expert_count", 0)
    used = header.metadata.get(f"{architecture}.expert_used_count", 0)
    if not _is_count(count) or not _is_count(used) or not min(count, 1) <= used <= count <= _MAX_EXPERTS:
        raise WeightsError(f"{path} uses {used!r:.40} of {count!r:.40} experts, says its header; download it again")


def _check_vocabulary(path: Path, header: Header) -> None:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not tokens:
        raise WeightsError(f"{path} has no vocabulary, so it cannot read text; download another conversion")
    # To llama.cpp a text ends at a null character, and an empty one is renamed.
    texts = [text for token in tokens if (text := str(token).partition("\0")[0])]
    if len(set(texts)) != len(texts):
        raise WeightsError(f"{path} has a broken vocabulary: it lists a token twice; download it again")
    for key, item in _VOCABULARY.items():
        if key not in header.metadata:
            continue
        is_list = header.types[key] == (ValueType.ARRAY, item)
        if not is_list or (not key.endswith("merges") and len(header.metadata[key]) != len(tokens)):
            raise WeightsError(f"{path} has a broken vocabulary: {key} does not fit the tokens; download it again")


def _check_shapes(path: Path, header: Header) -> None:
    """Hold each tensor of a Llama or Mixtral against the sizes that the metadata give."""

    def size(name: str, default: int | None = None) -> int | None:
        value = header.metadata.get(f"llama.{name}", default)
        return value if _is_count(value) else None  # lists have a number a layer, and are left to llama.cpp

    hidden, heads = size("embedding_length"), size("attention.head_count")
    head = hidden // heads if hidden and heads else None
    keys, values = size("attention.key_length", head), size("attention.value_length", head)
    key_value_heads = size("attention.head_count_kv", heads)
    forward, experts = size("feed_forward_length"), size("expert_count")
    vocabulary = len(header.metadata["tokenizer.ggml.tokens"])
    expected: dict[str, tuple[int | None, ...]] = {
        "token_embd": (hidden, vocabulary),
        "output": (hidden, vocabulary),
        "output_norm": (hidden,),
        "attn_norm": (hidden,),
        "ffn_norm": (hidden,),
        "attn_q": (hidden, _product(heads, keys)),
        "attn_k": (hidden, _product(key_value_heads, keys)),
        "attn_v": (hidden, _product(key_value_heads, values)),
        "attn_output": (_product(heads, values), hidden),
        "ffn_gate": (hidden, forward),
        "ffn_up": (hidden, forward),
        "ffn_down": (forward, hidden),
        "ffn_gate_inp": (hidden, experts),
        "ffn_gate_exps": (hidden, forward, experts),
        "ffn_up_exps": (hidden, forward, experts),
        "ffn_down_exps": (forward, hidden, experts),
    }
    for tensor in header.tensors:
        wanted = expected.get(_BLOCK.sub("", tensor.name).removesuffix(".weight"))
        if wanted is None or not tensor.name.endswith(".weight") or None in wanted:
            continue
        if tensor.shape != wanted:
            raise WeightsError(
                f"{path} holds {tensor.name!r} in the shape {tensor.shape} where its metadata ask for {wanted}; "
                "download it again"
            )


def _product(count: int | None, each: int | None) -> int | None:
    return None if count is None or each is None else count * each


def parts_of(path: Path, header: Header) -> list[Path]:
    """The files of a checked model, of which `path` is the first and often the only one."""
    count = header.metadata.get("split.count", 0)
    name = _PART.fullmatch(path.name)
    if not _is_count(count) or count < 2 or name is None:
        return [path]
    return [path.with_name(f"{name['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]


def is_float32(header: Header) -> bool:
    """Whether a checked model stores all its weights in full precision."""
    return all(tensor.type == _F32 for tensor in header.tensors)


def is_laid_out_anew(header: Header) -> bool:
    """Whether llama.cpp brings weights of a checked model into an order of its own as it loads them: a copy of them."""
    return any(tensor.type in _INTERLEAVED for tensor in header.tensors)


def is_embedding_model(header: Header) -> bool:
    """Whether a checked model says how its hidden states become one vector: only those made for embeddings do."""
    return bool(header.metadata.get(f"{header.metadata['general.architecture']}.pooling_type", 0))


def control_tokens(header: Header) -> dict[str, int]:
    """The ids of a checked model's tokens that are no text: its control tokens and those that its makers defined."""
    return {token: index for token, index, kind in _typed(header) if kind in {_CONTROL, _USER_DEFINED}}


def user_defined_tokens(header: Header) -> list[str]:
    """Those of them that llama.cpp finds in plain text too."""
    return [token for token, _, kind in _typed(header) if kind == _USER_DEFINED]


def _typed(header: Header) -> Iterator[tuple[str, int, int]]:
    tokens, types = header.metadata["tokenizer.ggml.tokens"], header.metadata.get("tokenizer.ggml.token_type", [])
    return zip(tokens, range(len(types)), types, strict=False)


def later_part(name: str) -> str | None:
    """The name of the first file of a model, where this is the name of a later one."""
    part = _PART.fullmatch(name)
    if part is None or int(part["number"]) == 1:
        return None
    return f"{part['stem']}-00001-of-{part['count']}.gguf"


def stem_of(path: Path) -> str:
    """The name of a model's file without what only says that it is a GGUF file, or one of several."""
    part = _PART.fullmatch(path.name)
    return path.stem if part is None else part["stem"]


def _later_parts(path: Path, header: Header) -> list[Path]:
    """All files of a model but the first. Raises `WeightsError` where `path` is not that."""
    count = header.metadata.get("split.count", 0)
    if not _is_count(count) or count < 2:
        return []
    name = _PART.fullmatch(path.name)
    if name is None or int(name["count"]) != count:
        raise WeightsError(
            f"{path} is one of {count} parts of a model; its name must end like -00001-of-{count:05}.gguf"
        )
    first = path.with_name(f"{name['stem']}-00001-of-{name['count']}.gguf")
    if header.metadata.get("split.no") != 0 or path.name != first.name:
        raise WeightsError(f"{path} is a later part of a model; name the first one, {first.name}")
    return parts_of(path, header)[1:]


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
