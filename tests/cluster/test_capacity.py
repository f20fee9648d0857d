"""The capacity model against numbers that are known, and against itself."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.cluster.capacity import A100, GB, H100, L40S, MIXTRAL_8X7B, Replica, Work, capacity


def test_the_parameters_of_mixtral_8x7b():
    """46,702,792,704 is what its checkpoint on the hub has, 12.9 billion what its paper tells of a token."""
    assert MIXTRAL_8X7B.parameters == 46_702_792_704
    assert MIXTRAL_8X7B.active == pytest.approx(12.9e9, rel=0.002)


def test_the_memory_of_a_token():
    assert MIXTRAL_8X7B.kept() == 131_072
    assert MIXTRAL_8X7B.kept(1) == 65_536
    assert MIXTRAL_8X7B.kept() * 32_768 == 4 * 2**30


def test_experts_that_a_batch_touches():
    """By drawing, for each token two of eight."""
    draw = random.Random(1)
    for batch in (1, 2, 5, 16):
        drawn = [len({expert for _ in range(batch) for expert in draw.sample(range(8), 2)}) for _ in range(4000)]
        assert MIXTRAL_8X7B.touched(batch) == pytest.approx(sum(drawn) / len(drawn), rel=0.01)
    assert MIXTRAL_8X7B.touched(1) == 2


def test_a_step_reads_all_but_the_table_of_embeddings_in_the_end():
    everything = MIXTRAL_8X7B.parameters - MIXTRAL_8X7B.embedding
    assert MIXTRAL_8X7B.read(1) == pytest.approx(MIXTRAL_8X7B.active - MIXTRAL_8X7B.embedding)
    assert MIXTRAL_8X7B.read(64) == pytest.approx(everything, rel=1e-6)


@pytest.mark.parametrize(
    ("replica", "fits"),
    [
        (Replica(H100, 1, "fp16"), False),
        (Replica(H100, 1, "fp8"), True),
        (Replica(H100, 2, "fp16"), True),
        (Replica(L40S, 1, "fp8"), False),
        (Replica(L40S, 1, "int4"), True),
    ],
)
def test_what_fits(replica, fits):
    assert (capacity(replica) is not None) is fits
    assert (replica.context > 0) is fits


def test_no_step_is_faster_than_its_parts():
    for gpu in (H100, A100, L40S):
        replica = Replica(gpu, 4, "fp16")
        times = [replica.step(batch, 1650) for batch in range(257)]
        assert times == sorted(times)
        for batch in (1, 16, 256):
            bytes_read = MIXTRAL_8X7B.read(batch) * 2
            assert replica.step(batch, 1650) > bytes_read / (4 * gpu.bandwidth)
            assert replica.step(batch, 1650) > MIXTRAL_8X7B.computed(batch) / (4 * gpu.flops)


def test_by_hand():
    """A token alone on two H100 in fp8: 12.75 GB at 70 % of 6,700 GB/s, 64 sums of 10 µs, 2 ms of the processor."""
    read = 12.75 * GB / (0.7 * 2 * 3350 * GB)
    assert Replica(H100, 2, "fp8").step(1, 0) == pytest.approx(read + 64 * 10e-6 + 2e-3, rel=0.01)


def test_more_gpus_give_more_and_a_price_scales():
    answers = [capacity(Replica(H100, gpus, "fp8")).tokens for gpus in (1, 2, 4, 8)]
    assert answers == sorted(answers)
    replica = Replica(H100, 2, "fp8")
    dear = replace(replica, assumed=replace(replica.assumed, price=2 * replica.assumed.price))
    assert capacity(dear).dollars == pytest.approx(2 * capacity(replica).dollars)


def test_prompts_in_memory_leave_time_for_answers():
    replica = Replica(H100, 2, "fp8")
    found = [capacity(replica, Work(cached=part)).requests for part in (0, 0.5, 0.9)]
    assert found == sorted(found)
    # The batch takes its time between two tokens, with what prompts take of it.
    full = capacity(replica, Work())
    assert full.between >= replica.step(full.batch, Work().context)
    assert full.tokens == pytest.approx(full.batch / full.between)
