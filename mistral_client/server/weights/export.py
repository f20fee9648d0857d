"""A Mixtral in GGUF, written as a checkpoint that Transformers loads.

Weights are given back their names and layout in Transformers and are rounded to float16, which is finer than the four
and eight bits that they are usually stored in.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import WeightsError
from .gguf_header import Header, Tensor
from .model_file import check_model, parts_of
from .progress import bar, is_wanted
from .tokenizer_json import tokenizer_json

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_ITEM_BYTES = 2
"""Of a float16."""

_EXPERT_PARTS = {"gate": "w1", "down": "w2", "up": "w3"}

_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate_inp": "block_sparse_moe.gate",
}

_OUTER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def export_safetensors(gguf_file: Path, target: Path, progress: bool | None = None) -> Path:
    """Write a Mixtral as `config.json`, `model.safetensors` and tokenizer files, and return the folder `target`.

    The folder appears whole or not at all. `progress` shows a bar on standard error; None: where that is a terminal.

    Raises `WeightsError` when the file is no Mixtral, `target` holds anything already, or there is no room for it.
    """
    header = check_model(gguf_file)
    if header.metadata["general.architecture"] != "llama" or not header.metadata.get("llama.expert_count"):
        raise WeightsError(f"{gguf_file} is no Mixtral, and only a Mixtral is exported")
    if len(parts_of(gguf_file, header)) > 1:
        raise WeightsError(
            f"{gguf_file} is one of several files; merge them with llama-gguf-split, and name the result"
        )
    try:
        target = target.expanduser().absolute()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise WeightsError(f"{target} is there already and not empty; name a new folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        planned = list(_plan(header))
        _check_room(target, sum(tensor.size for tensor in planned))
        folder = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=target.parent))
        try:
            _write_texts(header, folder)
            _write_weights(gguf_file, planned, folder / "model.safetensors", shown=is_wanted(progress))
            folder.chmod(0o777 & ~_umask())
            os.replace(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: no such `~user`; ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"the checkpoint cannot be written to {target}: {reason}") from error
    return target


def _check_room(target: Path, size: int) -> None:
    needed = size + 32 * 2**20  # the vocabulary, and a margin
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise WeightsError(
            f"the checkpoint takes {needed // 10**6} MB and {free // 10**6} MB are free in {target.parent}"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@dataclass(frozen=True, slots=True)
class _Planned:
    """A tensor of the checkpoint."""

    name: str
    shape: tuple[int, ...]
    source: Tensor
    expert: int | None
    """Which of the experts in `source`; None: `source` is one matrix."""
    heads: int | None
    """Rows are turned for the rotary embedding of so many heads; None: they stay."""

    @property
    def size(self) -> int:
        product = _ITEM_BYTES
        for dimension in self.shape:
            product *= dimension
        return product


def _plan(header: Header) -> Iterator[_Planned]:
    heads = {
        "attn_q": header.metadata["llama.attention.head_count"],
        "attn_k": _key_value_heads(header),
    }
    for tensor in header.tensors:
        shape = tensor.shape[::-1]
        stem = tensor.name.removesuffix(".weight")
        block, _, part = stem.removeprefix("blk.").partition(".")
        if stem in _OUTER_NAMES:
            yield _Planned(f"{_OUTER_NAMES[stem]}.weight", shape, tensor, None, None)
        elif part in _NAMES:
            yield _Planned(f"model.layers.{block}.{_NAMES[part]}.weight", shape, tensor, None, heads.get(part))
        elif part.startswith("ffn_") and part.endswith("_exps"):
            matrix = _EXPERT_PARTS[part.removeprefix("ffn_").removesuffix("_exps")]
            for expert in range(shape[0]):
                name = f"model.layers.{block}.block_sparse_moe.experts.{expert}.{matrix}.weight"
                yield _Planned(name, shape[1:], tensor, expert, None)
        elif stem != "rope_freqs":
            raise WeightsError(f"the tensor {tensor.name!r} has no place in a checkpoint of Mixtral")


def _key_value_heads(header: Header) -> int:
    heads = header.metadata.get("llama.attention.head_count_kv", header.metadata["llama.attention.head_count"])
    if not isinstance(heads, int):
        raise WeightsError("layers that differ in their heads have no place in a checkpoint of Mixtral")
    return heads


def _write_weights(gguf_file: Path, planned: list[_Planned], path: Path, *, shown: bool) -> None:
    """Length of the header, header in JSON, data. https://huggingface.co/docs/safetensors"""
    description: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in planned:
        start, end = end, end + tensor.size
        description[tensor.name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(description).encode()
    text += b" " * (-len(text) % 8)
    read = _reader(gguf_file)
    with path.open("wb") as file, bar("Writing the checkpoint", end, shown=shown) as done:
        file.write(len(text).to_bytes(8, "little") + text)
        written = 0
        for tensor in planned:
            file.write(read(tensor).data)
            written += tensor.size
            done(written)
        file.flush()
        os.fsync(file.fileno())


def _reader(gguf_file: Path) -> Callable[[_Planned], Array]:
    """A function that gives the numbers of a tensor, so that memory holds one at a time."""
    import gguf  # noqa: PLC0415  # a third of a second
    import numpy as np  # noqa: PLC0415

    stored = np.memmap(gguf_file, np.uint8, mode="r")

    def read(planned: _Planned) -> Array:
        source = planned.source
        kind = gguf.GGMLQuantizationType(source.type)
        size = source.size if planned.expert is None else source.size // source.shape[2]
        start = source.offset + (planned.expert or 0) * size
        raw = stored[start : start + size]
        # The bytes of a row each, as the function wants them.
        numbers = gguf.quants.dequantize(raw.reshape(-1, size // _rows(planned.shape)), kind)
        weight = numbers.reshape(planned.shape)
        if planned.heads is not None:
            weight = _halves_apart(weight, planned.heads)
        rounded = weight.astype("<f2", order="C")
        if not np.isfinite(rounded).all():
            raise WeightsError(f"the tensor {source.name!r} holds numbers that float16 cannot")
        return rounded

    return read


def _rows(shape: tuple[int, ...]) -> int:
    return shape[0] if len(shape) > 1 else 1


def _halves_apart(weight: Array, heads: int) -> Array:
    """Each head's rotary pairs as two halves, as Transformers has them; llama.cpp has the pairs side by side."""
    rows, columns = weight.shape
    turned: Array = weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    return turned


def _write_texts(header: Header, folder: Path) -> None:
    tokens = header.metadata["tokenizer.ggml.tokens"]

    def special(name: str) -> dict[str, Any]:
        number = header.metadata.get(f"tokenizer.ggml.{name}")
        known = isinstance(number, int) and 0 <= number < len(tokens)
        return {"id": number, "text": tokens[number]} if known else {"id": None, "text": None}

    bos, eos, pad = special("bos_token_id"), special("eos_token_id"), special("padding_token_id")
    ids = {"bos_token_id": bos["id"], "eos_token_id": eos["id"], "pad_token_id": pad["id"]}
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos["text"],
        "eos_token": eos["text"],
        "unk_token": special("unknown_token_id")["text"],
        "pad_token": pad["text"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": header.metadata["llama.context_length"],
        "chat_template": header.metadata.get("tokenizer.chat_template"),
    }
    _write_json(folder / "config.json", _config(header) | ids)
    _write_json(folder / "generation_config.json", ids)
    _write_json(folder / "tokenizer.json", tokenizer_json(header.metadata))
    _write_json(
        folder / "tokenizer_config.json",
        {key: value for key, value in tokenizer_config.items() if value is not None},
    )


def _config(header: Header) -> dict[str, Any]:
    llama = {key.removeprefix("llama."): value for key, value in header.metadata.items()}
    heads = llama["attention.head_count"]
    tensors = {tensor.name for tensor in header.tensors}
    return {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "attention_dropout": 0.0,
        "head_dim": llama.get("rope.dimension_count", llama["embedding_length"] // heads),
        "hidden_act": "silu",
        "hidden_size": llama["embedding_length"],
        "intermediate_size": llama["feed_forward_length"],
        "max_position_embeddings": llama["context_length"],
        "num_attention_heads": heads,
        "num_experts_per_tok": llama["expert_used_count"],
        "num_hidden_layers": llama["block_count"],
        "num_key_value_heads": _key_value_heads(header),
        "num_local_experts": llama["expert_count"],
        "output_router_logits": False,
        "rms_norm_eps": llama["attention.layer_norm_rms_epsilon"],
        "rope_theta": llama.get("rope.freq_base", 10000.0),
        "sliding_window": None,
        "tie_word_embeddings": "output.weight" not in tensors,
        "torch_dtype": "float16",
        "use_cache": True,
        "vocab_size": len(header.metadata["tokenizer.ggml.tokens"]),
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
