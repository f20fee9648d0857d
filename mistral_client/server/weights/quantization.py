"""Weights of four bits, from the layout Q4_1 into those that llama.cpp computes fastest, Q4_0 and Q4_K.

The layouts are those of ggml (https://github.com/ggml-org/ggml, `ggml-common.h`). For Q4_0 and Q4_K it has kernels that
take eight rows at a time, for Q4_1 it has none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BLOCK = 32
"""Weights that share a scale."""

SUPER_BLOCK = 256
"""Weights of a Q4_K block, whose eight scales and minima are quantised in turn."""

_STRETCHES: Floats = (8 + np.arange(-9, 10, 3, dtype=np.float32) / 10).astype(np.float32)
"""How far the largest weight of a Q4_0 block may lie from the end of the scale; one of them fits the block best."""


def values(q4_1: Bytes) -> Floats:
    """What blocks of Q4_1 stand for: `scale * q + minimum`. Shape: blocks, 32."""
    scales, minima, quants = _parts(q4_1)
    return np.asarray(scales * quants + minima, np.float32)


def q4_0(q4_1: Bytes) -> Bytes:
    """The same weights as `scale * (q - 8)`, 18 bytes a block, with the scale whose weighted squared error is least.

    Large weights weigh more: the error's weight is sqrt(mean square + square), as in llama.cpp's own quantiser.
    """
    weights = values(q4_1)
    squares = weights * weights
    importance = np.sqrt(squares.mean(dtype=np.float32) + squares)
    weighted = importance * weights
    largest = np.take_along_axis(weights, np.abs(weights).argmax(axis=1, keepdims=True), axis=1)
    inverse = _quotient(np.full_like(largest, -1), largest)
    best = np.full(len(weights), -1, np.float32)
    chosen = np.zeros(weights.shape, np.float32)
    for stretch in _STRETCHES:
        quants = np.clip(np.rint(weights * (stretch * inverse)), -8, 7)
        product, norm = _fit(weighted, importance, quants)
        # With the best scale for these quants the error is a constant less this.
        gain = _quotient(product * product, norm)
        better = gain > best
        best[better], chosen[better] = gain[better], quants[better]
    scales = _quotient(*_fit(weighted, importance, chosen))
    packed = _nibbles((chosen + 8).astype(np.uint8).reshape(-1, 2, BLOCK // 2))
    return np.concatenate([_halves(scales), packed], axis=1).reshape(-1)


def q4_k(q4_1: Bytes) -> Bytes:
    """The same weights as `d * scale * q - d_min * minimum`, 144 bytes for each 256, scale and minimum of six bits.

    Their number is a multiple of 256.
    """
    scales, minima, quants = _parts(q4_1)
    weights = (scales * quants + minima).reshape(-1, SUPER_BLOCK // BLOCK, BLOCK)
    # Zero lies within the range of a Q4_K block, which Q4_1 does not ask for.
    lowest = np.minimum(minima, 0).reshape(weights.shape[:2])
    widths = (np.maximum(minima + 15 * scales, 0).reshape(lowest.shape) - lowest) / 15
    d, of_scales = _six_bits(widths)
    d_min, of_minima = _six_bits(-lowest)
    steps = (d * of_scales)[..., None]
    above = weights + (d_min * of_minima)[..., None]
    nearest = np.rint(_quotient(above, steps))
    packed = _nibbles(np.clip(nearest, 0, 15).astype(np.uint8).reshape(-1, 2, BLOCK)).reshape(-1, SUPER_BLOCK // 2)
    rows: Bytes = np.concatenate([_halves(d), _halves(d_min), _packed_six(of_scales, of_minima), packed], axis=1)
    return rows.reshape(-1)


def _fit(weighted: Floats, importance: Floats, quants: Floats) -> tuple[Floats, Floats]:
    """Of each block the sums whose quotient is the best scale for these quants."""
    return np.einsum("ij,ij->i", weighted, quants), np.einsum("ij,ij,ij->i", importance, quants, quants)


def _quotient(numbers: Floats, divisors: Floats) -> Floats:
    """0 where there is nothing to divide by."""
    return np.divide(numbers, divisors, out=np.zeros_like(numbers), where=divisors != 0)


def _parts(q4_1: Bytes) -> tuple[Floats, Floats, Bytes]:
    """Scales and minima, a column each, and quants of blocks of 20 bytes."""
    blocks = np.asarray(q4_1).reshape(-1, 4 + BLOCK // 2)
    halves = np.ascontiguousarray(blocks[:, :4]).view("<f2").astype(np.float32)
    return halves[:, :1], halves[:, 1:], np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)


def _nibbles(pairs: Bytes) -> Bytes:
    """The first of each pair of rows in the lower halves of bytes, the second in the upper ones."""
    return np.asarray(pairs[:, 0] | pairs[:, 1] << 4, np.uint8)


def _halves(numbers: Floats) -> Bytes:
    return numbers.astype("<f2").reshape(-1, 1).view(np.uint8)


def _six_bits(numbers: Floats) -> tuple[Floats, Bytes]:
    """Eight numbers of each super-block, as multiples up to 63 of one."""
    unit = (numbers.max(axis=1, keepdims=True) / 63).astype("<f2").astype(np.float32)
    multiples = np.rint(_quotient(numbers, unit))
    return unit, np.minimum(multiples, 63).astype(np.uint8)


def _packed_six(scales: Bytes, minima: Bytes) -> Bytes:
    """Sixteen numbers of six bits in twelve bytes; of the last eight, the upper two bits lie in the first eight."""
    low_scales, high_scales = scales[:, :4], scales[:, 4:]
    low_minima, high_minima = minima[:, :4], minima[:, 4:]
    columns: list[NDArray[Any]] = [
        low_scales | (high_scales >> 4) << 6,
        low_minima | (high_minima >> 4) << 6,
        (high_scales & 15) | (high_minima & 15) << 4,
    ]
    packed: Bytes = np.concatenate(columns, axis=1).astype(np.uint8)
    return packed
