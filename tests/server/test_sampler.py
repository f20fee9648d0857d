"""The choice of tokens against plain arithmetic."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_client.server.engine import LEAST_LOGPROB, EngineError, Sampling
from mistral_client.server.engines.sampler import Sampler, logprobs

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.05, 0.25], np.float32))
DRAWN = Sampling(temperature=1.0, random_seed=7)


def drawn(sampling, logits=LOGITS, times=4000, prompt=()):
    """How often each token is the first of a generation."""
    seed = sampling.random_seed
    counts = Counter(
        Sampler(replace(sampling, random_seed=seed + number), prompt).choose(logits) for number in range(times)
    )
    return [counts[token] / times for token in range(len(logits))]


def test_temperature_0_takes_the_likeliest_and_of_equals_the_first():
    assert Sampler(Sampling(temperature=0), []).choose(LOGITS) == 1
    assert Sampler(Sampling(temperature=0), []).choose(np.zeros(4, np.float32)) == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_shapes_the_draw(temperature):
    weights = np.exp(LOGITS.astype(np.float64) / temperature)
    assert drawn(replace(DRAWN, temperature=temperature)) == pytest.approx(weights / weights.sum(), abs=0.03)


def test_the_smallest_temperature_is_greedy_and_the_largest_even():
    assert drawn(replace(DRAWN, temperature=1e-300), times=20) == [0, 1, 0, 0, 0]
    assert drawn(replace(DRAWN, temperature=1e300)) == pytest.approx([0.2] * 5, abs=0.03)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top_k": 1}, [0, 1, 0, 0, 0]),
        ({"top_k": 2}, [0, 0.4 / 0.65, 0, 0, 0.25 / 0.65]),
        ({"top_k": 99}, [0.1, 0.4, 0.2, 0.05, 0.25]),
        ({"top_p": 1e-9}, [0, 1, 0, 0, 0]),
        ({"top_p": 0.39}, [0, 1, 0, 0, 0]),
        ({"top_p": 0.6}, [0, 0.4 / 0.65, 0, 0, 0.25 / 0.65]),
        ({"top_p": 0.94}, [0.1 / 0.95, 0.4 / 0.95, 0.2 / 0.95, 0, 0.25 / 0.95]),
        # Of the two that are left, 0.615 and 0.385.
        ({"top_k": 2, "top_p": 0.6}, [0, 1, 0, 0, 0]),
    ],
)
def test_only_the_likeliest_are_drawn_from(options, expected):
    assert drawn(replace(DRAWN, **options)) == pytest.approx(expected, abs=0.03)


def test_a_seed_repeats_and_none_does_not():
    def generation(seed):
        sampler = Sampler(replace(DRAWN, random_seed=seed), [])
        return [sampler.choose(LOGITS) for _ in range(40)]

    for seed in (0, 1, 2**63, 2**64 + 5, -3):
        assert generation(seed) == generation(seed)
    assert len({tuple(generation(seed)) for seed in range(10)}) == 10
    assert len({tuple(generation(None)) for _ in range(10)}) == 10


def test_penalties_are_llama_cpps():
    """Of logits above 0 a quotient, of others a product, then so much for each time and so much for once."""
    logits = np.array([2.0, -2.0, 1.0, 0.5], np.float32)
    asked = Sampling(temperature=0, repetition_penalty=4.0, frequency_penalty=0.25, presence_penalty=0.125)
    sampler = Sampler(asked, [0, 0, 1])
    assert sampler._penalised(logits).tolist() == [2 / 4 - 2 * 0.25 - 0.125, -2 * 4 - 0.25 - 0.125, 1.0, 0.5]
    assert sampler.choose(logits) == 2
    # What was chosen counts from then on.
    assert sampler._penalised(logits)[2] == 1 / 4 - 0.25 - 0.125
    assert sampler.choose(logits) == 3


@pytest.mark.parametrize("damaged", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_numbers_that_are_none_are_an_error(damaged, temperature):
    for logits in (np.array([0, damaged, 1], np.float32), np.full(3, damaged, np.float32)):
        with pytest.raises(EngineError, match="weights may be damaged"):
            Sampler(replace(DRAWN, temperature=temperature), []).choose(logits)


def test_a_token_that_cannot_be_is_not_drawn():
    logits = np.array([0, -math.inf, 0], np.float32)
    assert drawn(DRAWN, logits) == pytest.approx([0.5, 0, 0.5], abs=0.03)
    with pytest.raises(EngineError):
        Sampler(DRAWN, []).choose(np.full(3, -math.inf, np.float32))


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40),
    st.floats(0.01, 3),
    st.floats(0.01, 1),
    st.integers(0, 50),
    st.integers(0, 2**64),
)
def test_any_choice_is_among_the_likeliest(values, temperature, top_p, top_k, seed):
    logits = np.array(values, np.float32)
    token = Sampler(Sampling(None, temperature, top_p, seed, top_k=top_k), []).choose(logits)
    scaled = logits.astype(np.float64) / temperature
    order = sorted(range(len(values)), key=lambda each: (-scaled[each], each))[: top_k or None]
    weights = np.exp(scaled[order] - scaled[order[0]])
    before = np.cumsum(weights) - weights
    allowed = [
        each for each, sum_before in zip(order, before, strict=True) if sum_before < top_p * weights.sum() + 1e-9
    ]
    assert token in allowed


def test_log_probabilities():
    logits = np.array([3.0, 1.0, 2.0, -math.inf], np.float32)
    total = math.log(math.exp(3) + math.exp(1) + math.exp(2))
    logprob, top = logprobs(logits, 1, 2)
    assert logprob == pytest.approx(1 - total)
    assert [token for token, _ in top] == [0, 2]
    assert [value for _, value in top] == pytest.approx([3 - total, 2 - total])
    assert logprobs(logits, 3, 0) == (LEAST_LOGPROB, [])
    assert len(logprobs(logits, 0, 99)[1]) == 4
    assert [token for token, _ in logprobs(np.zeros(5, np.float32), 0, 5)[1]] == [0, 1, 2, 3, 4]
