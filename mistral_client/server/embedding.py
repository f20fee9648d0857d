"""Embeddings as the wire has them: 1,024 floats of unit norm, whatever width the local model has."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 1024
"""Of `mistral-embed`."""

MAX_INPUTS = 512
MAX_TOKENS = 16_384
"""Of one request, over all its texts."""


def fitted(vectors: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Vectors as rows of 1,024 numbers and unit norm, cosines kept.

    Shorter ones get zeros at the end, which changes no cosine; longer ones go through a fixed random projection, which
    keeps cosines to within a few hundredths (Johnson and Lindenstrauss).
    """
    rows = np.asarray(vectors, dtype=np.float32)
    width = rows.shape[1]
    if width < DIMENSIONS:
        rows = np.pad(rows, ((0, 0), (0, DIMENSIONS - width)))
    elif width > DIMENSIONS:
        rows = rows @ _projection(width)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms == 0, 1, norms), dtype=np.float32)


@cache
def _projection(width: int) -> NDArray[np.float32]:
    normal = np.random.default_rng(width).standard_normal((width, DIMENSIONS), dtype=np.float32)
    return np.asarray(normal / np.sqrt(DIMENSIONS), dtype=np.float32)


def as_base64(row: NDArray[np.float32]) -> str:
    """The vector's little-endian float32 bytes, as `encoding_format` base64 has them."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode()
