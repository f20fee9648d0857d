"""Vectors in the number types of the wire: what `output_dtype` and `encoding_format` ask for."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Dtype = Literal["float", "int8", "uint8", "binary", "ubinary"]


def as_dtype(row: NDArray[np.float32], dtype: Dtype) -> NDArray[Any]:
    """One vector in another number type.

    int8: each number times 127 over the largest magnitude in the vector, rounded; so the cosine stays, to within the
    rounding. uint8: the same plus 128.
    ubinary: one bit for each number, set where it is greater than 0, eight to a byte, the first in the highest bit; the
    last byte is filled with zeros. binary: the same bytes minus 128 (offset binary), as int8.
    """
    if dtype == "float":
        return row.astype("<f4")
    if dtype in {"binary", "ubinary"}:
        packed = np.packbits(row > 0)
        return packed if dtype == "ubinary" else (packed.astype(np.int16) - 128).astype(np.int8)
    largest = float(np.abs(row).max())
    scaled = np.rint(row * (127 / largest)) if largest else row
    return scaled.astype(np.int8) if dtype == "int8" else (scaled + 128).astype(np.uint8)


def written(vector: NDArray[Any], encoding: Literal["float", "base64"] | None) -> list[float] | list[int] | str:
    """The vector as JSON has it: numbers, or the base64 of its bytes, little endian."""
    if encoding == "base64":
        return base64.b64encode(vector.tobytes()).decode()
    numbers: list[float] | list[int] = vector.tolist()
    return numbers
