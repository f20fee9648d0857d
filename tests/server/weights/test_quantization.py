"""The layouts, read by gguf's own dequantiser, and how near they come to what they were made from."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mistral_client.server.weights import quantization

TINY = 1e-4
"""Scales are halves, and the smallest of them are coarse."""

BLOCKS = st.integers(1, 4).flatmap(
    lambda count: st.tuples(
        arrays.arrays("<f2", (8 * count, 1), elements=st.floats(0, 4, width=16)),
        arrays.arrays("<f2", (8 * count, 1), elements=st.floats(-4, 4, width=16)),
        arrays.arrays(np.uint8, (8 * count, 16)),
    )
)


def q4_1(scales, minima, quants):
    return np.concatenate([scales.view(np.uint8), minima.view(np.uint8), quants], axis=1).reshape(-1)


def read(data, kind):
    return gguf.quants.dequantize(data, kind).reshape(-1, 32)


def drawn(blocks=512, seed=0):
    """Blocks as a quantiser makes them of weights from a bell curve."""
    weights = np.random.default_rng(seed).normal(0, 0.1, (blocks, 32)).astype(np.float32)
    return gguf.quants.quantize(weights, Type.Q4_1).reshape(-1)


def error(data, kind, source):
    exact = quantization.values(source)
    return float(np.sqrt(((read(data, kind) - exact) ** 2).mean() / (exact**2).mean()))


@given(BLOCKS)
def test_values_are_what_gguf_reads(blocks):
    data = q4_1(*blocks)
    np.testing.assert_array_equal(quantization.values(data), read(data, Type.Q4_1))


@given(BLOCKS)
def test_no_weight_is_further_off_than_its_block_is_wide(blocks):
    """Whatever the block: of zeros, of one sign, of one value."""
    data = q4_1(*blocks)
    exact = quantization.values(data)
    largest = np.abs(exact).max(axis=1, keepdims=True)
    assert (np.abs(read(quantization.q4_0(data), Type.Q4_0) - exact) <= largest / 4 + TINY).all()
    scales, minima = (each.astype(np.float32) for each in blocks[:2])
    range_of_super_block = np.maximum(np.abs(minima), np.abs(minima + 15 * scales)).reshape(-1, 8).max(axis=1)
    distances = np.abs(read(quantization.q4_k(data), Type.Q4_K) - exact).reshape(-1, 256).max(axis=1)
    assert (distances <= range_of_super_block / 10 + TINY).all()


def test_q4_0_is_nearer_than_the_plain_rounding():
    source = drawn()
    plain = gguf.quants.quantize(quantization.values(source), Type.Q4_0).reshape(-1)
    assert len(quantization.q4_0(source)) == len(plain)
    assert error(quantization.q4_0(source), Type.Q4_0, source) < 0.92 * error(plain, Type.Q4_0, source) < 0.1


def test_q4_k_moves_weights_by_a_fraction_of_a_step():
    source = drawn()
    assert len(quantization.q4_k(source)) == 512 * 32 // 256 * 144
    assert error(quantization.q4_k(source), Type.Q4_K, source) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_blocks_do_not_depend_on_those_beside_them(seed):
    source = drawn(64, seed)
    halves = np.split(source, 2)
    np.testing.assert_array_equal(quantization.q4_k(source), np.concatenate([quantization.q4_k(h) for h in halves]))
