"""The header of a safetensors file, read with suspicion.

Every number is held against the size of the file before anything uses it, whatever is wrong ends in one `WeightsError`,
and no tensor data is touched.

Format: https://huggingface.co/docs/safetensors. Eight bytes with the length of the header, the header in JSON, the data
without gaps.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint_json import parse_object
from .errors import WeightsError
from .file_kind import START, what_it_is

_MAX_HEADER_BYTES = 16 * 2**20
"""A description takes about 120 bytes; the largest models have some 100,000 tensors, in many files."""

_MAX_DIMENSIONS = 8

ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
}
"""The types of numbers, with the bytes that one takes."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor lies in its safetensors file."""

    name: str
    dtype: str
    """A key of `ITEM_BYTES`."""
    shape: tuple[int, ...]
    offset: int
    """Bytes from the beginning of the file."""
    size: int
    """Bytes."""

    @property
    def items(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_safetensors_header(path: str | os.PathLike[str]) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by their names, in the order of their data.

    Raises `WeightsError` when the file cannot be opened, is something else, is cut short or contradicts itself.
    """
    path = Path(path)
    try:
        # Asked before opening: opening a named pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise WeightsError(f"{path} is not a regular file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(START)
            length = _header_length(path, start, size)
            file.seek(8)
            text = file.read(length)
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path} cannot be read: {reason}") from error
    if len(text) < length:
        raise WeightsError(f"{path} was cut while it was read; download it again")
    try:
        return _tensors(parse_object(text), 8 + length, size)
    except ValueError as error:
        raise WeightsError(f"{path} is a damaged safetensors file: {error}; download it again") from None


def _header_length(path: Path, start: bytes, size: int) -> int:
    if size == 0:
        raise WeightsError(f"{path} is empty; download it again")
    if start[8:9] != b"{":
        what = what_it_is(start, size, "the safetensors files of the model") or "its header is no JSON"
        raise WeightsError(f"{path} is not a safetensors file: {what}")
    length = int.from_bytes(start[:8], "little")
    if length > _MAX_HEADER_BYTES:
        raise WeightsError(f"{path} is a damaged safetensors file: it claims a header of {length} bytes")
    if length > size - 8:
        raise WeightsError(f"{path} is cut short or damaged: it ends inside its header; download it again")
    return length


def _tensors(header: Mapping[str, Any], data: int, size: int) -> dict[str, StoredTensor]:
    """Raises `ValueError`. data: where the data begins."""
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no texts")
    tensors = [_tensor(name, value, data) for name, value in header.items() if name != "__metadata__"]
    tensors.sort(key=lambda tensor: tensor.offset)
    expected = data
    for tensor in tensors:
        if tensor.offset != expected:
            raise ValueError(f"the tensor {tensor.name!r} is not where the one before it ends")
        expected = tensor.offset + tensor.size
    if expected != size:
        raise ValueError(f"its tensors end at byte {expected} and the file has {size}")
    return {tensor.name: tensor for tensor in tensors}


def _tensor(name: str, value: object, data: int) -> StoredTensor:
    if not name or len(name) > 256 or not name.isprintable():
        raise ValueError("the name of a tensor is not a name")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the tensor {name!r} is not described by its type, shape and offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"the tensor {name!r} has the unknown type {dtype!r:.40}")
    if not _are_counts(shape) or len(shape) > _MAX_DIMENSIONS or not all(shape):
        raise ValueError(f"the tensor {name!r} has the shape {shape!r:.80}")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"the tensor {name!r} has the offsets {offsets!r:.80}")
    size = math.prod(shape) * ITEM_BYTES[dtype]
    if offsets[1] - offsets[0] != size:
        raise ValueError(f"the tensor {name!r} does not take the bytes that its shape asks for")
    return StoredTensor(name, dtype, tuple(shape), data + offsets[0], size)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)
