"""The simulation tells what a real cluster does, within 20 %: below what it can do, and above."""

from __future__ import annotations

import pytest

from mistral_client.server.weights import default_model
from tests.cluster import validation

SLOTS, QUEUE = 2, 4
PARTS = (0.6, 1.6)


@pytest.fixture(scope="module")
def compared(cluster):
    """The default Mixtral: beside it proxies and the program that asks cost little, which is not so of the baby."""
    cluster.deploy(model=str(default_model()), slots=SLOTS, queue=QUEUE, queued=256)
    cluster.settled()
    return validation.measure(cluster.url, SLOTS, QUEUE, rounds=3, seconds=20, parts=PARTS, cycles=3)


@pytest.mark.weights
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("figure", ["throughput", "mean", "p50", "p95"])
def test_simulated_is_measured(compared, part, figure):
    """The median of the rounds: in one alone another program of the machine may have had its turn."""
    assert validation.ratios(compared, part)[figure] == pytest.approx(1, abs=0.2)


@pytest.mark.weights
def test_the_loads_are_below_and_above_what_it_can_do(compared):
    below, above = ([each for each in compared if each.part == part] for part in PARTS)
    assert all(each.measured.refused < 0.1 for each in below)
    assert sum(each.measured.refused for each in above) > 0.05 * len(above)
