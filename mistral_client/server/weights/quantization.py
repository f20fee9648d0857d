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
    inverse = np.divide(-1, largest, out=np.zeros_like(largest), where=largest != 0)
    best = np.full(len(weights), -1, np.float32)
    chosen = np.zeros(weights.shape, np.float32)
    scales = np.zeros(len(weights), np.float32)
    for stretch in _STRETCHES:
        quants = np.clip(np.rint(weights * (stretch * inverse)), -8, 7)
        product = np.einsum("ij,ij->i", weighted, quants)
        norm = np.einsum("ij,ij,ij->i", importance, quants, quants)
        # The best scale for these quants is product / norm, and then the error is a constant less product² / norm.
        gain = np.divide(product * product, norm, out=np.zeros_like(norm), where=norm > 0)
        better = gain > best
        best[better], chosen[better] = gain[better], quants[better]
        scales[better] = np.divide(product, norm, out=np.zeros_like(norm), where=norm > 0)[better]
    return np.concatenate([_halves(scales), _nibbles((chosen + 8).astype(np.uint8))], axis=1).reshape(-1)


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
    nearest = np.rint(np.divide(above, steps, out=np.zeros_like(above), where=steps > 0))
    pairs = np.clip(nearest, 0, 15).astype(np.uint8).reshape(-1, 4, 2, BLOCK)
    packed = (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, SUPER_BLOCK // 2)
    return np.concatenate([_halves(d), _halves(d_min), _packed_six(of_scales, of_minima), packed], axis=1).reshape(-1)


def _parts(q4_1: Bytes) -> tuple[Floats, Floats, Bytes]:
    """Scales and minima, a column each, and quants of blocks of 20 bytes."""
    blocks = np.asarray(q4_1).reshape(-1, 4 + BLOCK // 2)
    halves = np.ascontiguousarray(blocks[:, :4]).view("<f2").astype(np.float32)
    return halves[:, :1], halves[:, 1:], np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)


def _nibbles(quants: Bytes) -> Bytes:
    return np.asarray(quants[:, : BLOCK // 2] | quants[:, BLOCK // 2 :] << 4, np.uint8)


def _halves(numbers: Floats) -> Bytes:
    return numbers.astype("<f2").reshape(-1, 1).view(np.uint8)


def _six_bits(numbers: Floats) -> tuple[Floats, Bytes]:
    """Eight numbers of each super-block, as multiples up to 63 of one."""
    unit = (numbers.max(axis=1, keepdims=True) / 63).astype("<f2").astype(np.float32)
    multiples = np.rint(np.divide(numbers, unit, out=np.zeros_like(numbers), where=unit > 0))
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
    return np.concatenate(columns, axis=1).astype(np.uint8)
