"""The header of a GGUF file, read with suspicion.

Native code trusts what a header says about counts, lengths and offsets, and a lie there can end the process. So the
header is read here first: every number is held against the size of the file before it is used, whatever is wrong ends
in one `WeightsError`, and no tensor data is touched. Written apart from `gguf.GGUFReader`, which takes seconds for a
vocabulary of 50,000 tokens and believes what it reads.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little endian.
"""

from __future__ import annotations

import math
import mmap
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from .errors import WeightsError
from .file_kind import START, what_it_is

_MAX_HEADER_BYTES = 128 * 2**20
"""Vocabulary and merges of the largest tokenizers in use take about 20 MB."""

_MAX_ARRAY_ITEMS = 2**22
"""Over all arrays of a header; a vocabulary of 262,144 tokens with scores, types and merges has 1.3 million."""

_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS

_DEFAULT_ALIGNMENT = 32


class ValueType(IntEnum):
    """The type of a metadata value, numbered as in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_FORMATS = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "B",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where one tensor lies in its file."""

    name: str
    shape: tuple[int, ...]
    """In GGUF's order: the first dimension is the one that is contiguous, the reverse of numpy's."""
    type: int
    """A `gguf.GGMLQuantizationType`."""
    offset: int
    """Bytes from the beginning of the file."""
    size: int
    """Bytes, without padding."""


@dataclass(frozen=True, slots=True)
class Header:
    """All of a GGUF file but the tensor data."""

    version: int
    metadata: Mapping[str, Any]
    """Plain Python values; arrays are lists. Bytes that are not UTF-8 became escapes, `\\xff`."""
    types: Mapping[str, tuple[ValueType, ...]]
    """The type of each value as stored: `(UINT32,)`, or `(ARRAY, STRING)` for an array of strings."""
    tensors: tuple[Tensor, ...]
    """In the order of the file, which is also the order of their data."""
    alignment: int
    """Tensor data begin at multiples of this many bytes."""


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the header of a GGUF file, checking each number in it.

    Raises `WeightsError` when the file cannot be opened, is something else, is cut short or contradicts itself.
    """
    path = Path(path)
    try:
        # Asked before opening: opening a named pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise WeightsError(f"{path} is not a regular file; name a .gguf file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            _check_content(path, file.read(START), size)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _HeaderReader(path, data, size).read()
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character, an empty mapping
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path} cannot be read: {reason}") from error


def _check_content(path: Path, start: bytes, size: int) -> None:
    """Say what a file is that is not GGUF of a version we read."""
    if size == 0:
        raise WeightsError(f"{path} is empty; download it again")
    if not start.startswith(b"GGUF"):
        what = what_it_is(start, size, "a .gguf file") or "it does not begin with GGUF"
        raise WeightsError(f"{path} is not a GGUF file: {what}")
    if size < 24:
        raise WeightsError(f"{path} is cut short: it has {size} bytes and ends inside its header; download it again")
    (version,) = struct.unpack_from("<I", start, 4)
    if version in (2, 3):
        return
    if version and not version & 0xFFFF:
        raise WeightsError(f"{path} is a big-endian GGUF file; convert the model to little endian")
    raise WeightsError(f"{path} is GGUF version {version}; versions 2 and 3 are read: download a current conversion")


class _HeaderReader:
    """A position in the mapped file, and the checks on the way."""

    def __init__(self, path: Path, data: mmap.mmap, size: int) -> None:
        self.path = path
        self.data = data
        self.size = size
        self.end = min(size, _MAX_HEADER_BYTES)
        self.position = 4
        self.items_left = _MAX_ARRAY_ITEMS

    def damaged(self, reason: str) -> WeightsError:
        return WeightsError(f"{self.path} is a damaged GGUF file: {reason}; download it again")

    def ends_early(self) -> WeightsError:
        if self.end < self.size:
            return self.damaged(f"its header claims more than {_MAX_HEADER_BYTES // 2**20} MiB")
        return WeightsError(f"{self.path} is cut short or damaged: it ends inside its header; download it again")

    def read(self) -> Header:
        version = self.number("I")
        tensor_count = self.number("Q")
        value_count = self.number("Q")
        # The smallest value takes 13 bytes, the smallest tensor description 24.
        if value_count * 13 + tensor_count * 24 > self.end - self.position:
            raise self.ends_early()

        metadata: dict[str, Any] = {}
        types: dict[str, tuple[ValueType, ...]] = {}
        for _ in range(value_count):
            key = self.name("a metadata key")
            if key in metadata:
                raise self.damaged(f"the metadata key {key!r} appears twice")
            metadata[key], types[key] = self.value(key)

        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if types.get("general.alignment", (ValueType.UINT32,)) != (ValueType.UINT32,):
            raise self.damaged("its alignment is not a 32-bit number")
        if alignment < 1 or alignment & (alignment - 1):
            raise self.damaged(f"its alignment is {alignment}, not a power of two")
        tensors = self.tensors(tensor_count, alignment)
        return Header(version, metadata, types, tensors, alignment)

    def number(self, kind: str) -> int:
        width = struct.calcsize(kind)
        if width > self.end - self.position:
            raise self.ends_early()
        (number,) = struct.unpack_from("<" + kind, self.data, self.position)
        self.position += width
        return int(number)

    def value_type(self, key: str) -> ValueType:
        number = self.number("I")
        try:
            return ValueType(number)
        except ValueError:
            raise self.damaged(f"the metadata key {key!r} has the unknown type {number}") from None

    def value(self, key: str) -> tuple[Any, tuple[ValueType, ...]]:
        kind = self.value_type(key)
        if kind is not ValueType.ARRAY:
            return self.values(key, kind, 1)[0], (kind,)
        item = self.value_type(key)
        count = self.number("Q")
        if item is ValueType.ARRAY:
            raise self.damaged(f"the metadata key {key!r} is an array of arrays, which no model uses")
        if count > self.items_left:
            raise self.damaged(f"the metadata key {key!r} claims {count} items")
        self.items_left -= count
        return self.values(key, item, count), (kind, item)

    def values(self, key: str, kind: ValueType, count: int) -> list[Any]:
        if kind is ValueType.STRING:
            return [raw.decode("utf-8", "backslashreplace") for raw in self.strings(count)]
        layout = f"<{count}{_FORMATS[kind]}"
        width = struct.calcsize(layout)
        if width > self.end - self.position:
            raise self.ends_early()
        values = list(struct.unpack_from(layout, self.data, self.position))
        self.position += width
        if kind is ValueType.BOOL:
            if any(value > 1 for value in values):
                raise self.damaged(f"the metadata key {key!r} is neither true nor false")
            return [bool(value) for value in values]
        return values

    def strings(self, count: int) -> list[bytes]:
        # The loop that a vocabulary runs 100,000 times: local names, one unpacking, one slice.
        data, end, position = self.data, self.end, self.position
        length_at = struct.Struct("<Q").unpack_from
        if count * 8 > end - position:
            raise self.ends_early()
        strings = []
        for _ in range(count):
            if end - position < 8:
                raise self.ends_early()
            start = position + 8
            position = start + length_at(data, position)[0]
            if position > end:
                raise self.ends_early()
            strings.append(data[start:position])
        self.position = position
        return strings

    def name(self, what: str) -> str:
        (raw,) = self.strings(1)
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged(f"the name of {what} is not UTF-8") from None
        if not name or len(name) > 256 or "\0" in name:
            raise self.damaged(f"the name of {what} is not a name")
        return name

    def tensors(self, count: int, alignment: int) -> tuple[Tensor, ...]:
        described: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(count):
            name = self.name("a tensor")
            if name in described:
                raise self.damaged(f"the tensor {name!r} appears twice")
            dimensions = self.number("I")
            if dimensions > _MAX_DIMENSIONS:
                raise self.damaged(f"the tensor {name!r} has {dimensions} dimensions, at most {_MAX_DIMENSIONS} exist")
            shape = tuple(self.number("Q") for _ in range(dimensions))
            described[name] = shape, self.number("I"), self.number("Q")

        data_start = _padded(self.position, alignment)
        tensors = []
        expected = 0
        for name, (shape, kind, offset) in described.items():
            size = self.tensor_size(name, shape, kind)
            # llama.cpp, too, wants the data in order and without gaps.
            if offset != expected:
                raise self.damaged(f"the tensor {name!r} is not where the one before it ends")
            end = data_start + offset + size
            if end > self.size:
                raise WeightsError(
                    f"{self.path} is cut short: the tensor {name!r} ends at byte {end} "
                    f"and the file has {self.size}; download it again"
                )
            tensors.append(Tensor(name, shape, kind, data_start + offset, size))
            expected = _padded(offset + size, alignment)
        return tuple(tensors)

    def tensor_size(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        import gguf  # noqa: PLC0415  # a third of a second, so not before a file is read

        try:
            quantization = gguf.GGMLQuantizationType(kind)
        except ValueError:
            raise WeightsError(
                f"{self.path} stores the tensor {name!r} in type {kind}, which this version of gguf does not know; "
                "update the package gguf or download another quantization"
            ) from None
        block, block_bytes = gguf.GGML_QUANT_SIZES[quantization]
        elements = math.prod(shape)
        if elements < 1:
            raise self.damaged(f"the tensor {name!r} has no elements")
        if (shape[0] if shape else 1) % block:
            raise self.damaged(f"the rows of tensor {name!r} are no whole number of {quantization.name} blocks")
        return int(elements // block * block_bytes)


def _padded(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment
