"""A cell over some hours."""

from __future__ import annotations

import random

import pytest

from tests.cluster.capacity import H100
from tests.cluster.capacity import Replica as Hardware
from tests.cluster.day import Plan, percentile, simulate
from tests.cluster.scale_page import together
from tests.cluster.traffic import DAY, Burst, Traffic, size

HARDWARE = Hardware(H100, 2, "fp8")


def at_a_rate(rate, replicas=5, seed=1, seconds=900.0, **plan):
    traffic = Traffic(mean=rate, swing=0.0)
    return together(simulate(Plan(HARDWARE, slots=256, **plan), traffic, replicas, seed, 0.0, seconds)[1:])


def test_the_rate_is_that_of_the_traffic():
    traffic = Traffic(mean=30, bursts=(Burst(3600, 600, 2.0),))
    assert sum(traffic.rate(at) for at in range(0, 86_400, 60)) / 1440 == pytest.approx(30, rel=0.02)
    assert traffic.rate(3900) == pytest.approx(2 * Traffic(mean=30).rate(3900))
    draw = random.Random(1)
    begun = list(traffic.conversations(draw, 0, 7200))
    assert begun == sorted(begun)
    wanted = sum(traffic.rate(at) for at in range(7200)) / traffic.turns
    assert len(begun) == pytest.approx(wanted, rel=0.03)


def test_sizes_have_their_average():
    draw = random.Random(2)
    assert sum(size(draw, 300) for _ in range(40_000)) / 40_000 == pytest.approx(300, rel=0.03)


def test_users_see_the_same_in_cells_of_other_sizes():
    """For what a fleet of thousands is simulated by: the size of the cell changes nothing but the noise."""
    small, large = at_a_rate(9, 5, 3), at_a_rate(9, 20, 4)
    for part in (0.5, 0.95):
        assert percentile(small.first, part) == pytest.approx(percentile(large.first, part), rel=0.2)
        assert percentile(small.whole, part) == pytest.approx(percentile(large.whole, part), rel=0.1)
    assert small.read / small.asked == pytest.approx(large.read / large.asked, rel=0.15)


def test_conversations_that_stay_find_their_context():
    kept, lost = at_a_rate(9), at_a_rate(9, sticky=False)
    assert kept.read / kept.asked < 0.7 * lost.read / lost.asked
    assert percentile(kept.first, 0.5) < percentile(lost.first, 0.5)


def test_too_much_is_refused_and_failures_break_answers():
    assert at_a_rate(9).refused == 0
    assert at_a_rate(20).refused > 0
    failing = at_a_rate(9, apart=0.02 * DAY, restart=60.0)
    assert failing.broken > 0
