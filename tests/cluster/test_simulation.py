"""The simulation against what is known of queues, and its own rules."""

from __future__ import annotations

import math
import random
from statistics import mean

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.routing import Homes, Ring, TwoChoices
from tests.cluster.simulation import Fleet, Host, Job, Replica, Speed, Status, replay

FAST = 1e-9
"""Seconds for a token of a prompt, where prompts are not what it is about."""

STEPS = Speed(steps=(0, 1, 1), reading=FAST)
"""A step takes a second, whoever is in it, and prompts none: an answer of n + 1 tokens takes n seconds."""


def one(env, speed=STEPS, slots=1, queue=10**9, **options):
    return Fleet(env, [Replica(env, speed, slots, queue, **options)], Homes(dict.fromkeys(range(10**6), 0)))


def run(jobs, **options):
    """What becomes of them at one replica."""
    env = simpy.Environment()
    replay(env, one(env, **options), jobs)
    return jobs


def test_a_request_alone():
    [job] = run([Job(2, 0, prompt=100, answer=11)], speed=Speed((0, 0.5), reading=0.01, chunk=50))
    # Two chunks of 50 tokens, each without a sequence that decodes, then ten steps.
    assert job.first == pytest.approx(2 + 100 * 0.01)
    assert job.end == pytest.approx(job.first + 10 * 0.5)
    assert job.status is Status.ANSWERED


def test_batches_are_slower_and_give_more():
    jobs = run([Job(0, n, 1, 101) for n in range(2)], speed=Speed((0, 1, 1.5), FAST), slots=2)
    assert [job.end for job in jobs] == pytest.approx([150, 150], rel=1e-2)


def test_a_prompt_holds_up_who_decodes():
    first, second = run([Job(0, 0, 1, 11), Job(4, 1, 100, 2)], speed=Speed((0, 1, 1), 0.1, chunk=100), slots=2)
    assert second.first == pytest.approx(4 + 1 + 10, abs=0.2)  # a step with a chunk takes 1 + 100 * 0.1
    assert first.end == pytest.approx(20, abs=0.3)


def test_neighbours_on_a_host():
    env = simpy.Environment()
    host = Host()
    speed = Speed((0, 1), FAST, beside=0.5)
    fleet = Fleet(env, [Replica(env, speed, 1, 0, host) for _ in range(2)], Homes({0: 0, 1: 1}))
    jobs = [Job(0, 0, 1, 11), Job(0, 1, 1, 5)]
    replay(env, fleet, jobs)
    assert [job.end for job in jobs] == pytest.approx([6 + 6, 6], abs=0.1)


def test_full_is_refused():
    jobs = run([Job(0, n, 1, 11) for n in range(5)], queue=2)
    assert [job.status for job in jobs] == [Status.ANSWERED] * 3 + [Status.REFUSED] * 2


def test_a_second_turn_reads_what_is_new():
    def turns():
        return [Job(0, 7, 100, 11), Job(50, 7, 150, 11, known=110), Job(100, 8, 150, 11, known=110)]

    assert [job.read for job in run(turns(), memory=1000)] == [100, 40, 150]
    assert [job.read for job in run(turns())] == [100, 150, 150]


def test_what_runs_needs_the_memory_of_what_is_kept():
    turns = [Job(0, 7, 100, 11), Job(50, 8, 80, 11), Job(100, 7, 150, 11, known=110)]
    assert [job.read for job in run(turns, memory=200)] == [100, 80, 150]


def test_memory_bounds_what_runs():
    jobs = run([Job(0, n, 100, 11) for n in range(3)], slots=3, memory=230)
    assert [job.begun for job in jobs] == pytest.approx([0, 0, 10], abs=0.01)


def test_a_failure_breaks_what_has_begun_and_sends_the_rest_elsewhere():
    env = simpy.Environment()
    replicas = [Replica(env, STEPS, 1, 5) for _ in range(2)]

    class Both:
        def ranked(self, conversation):
            return (0, 1)

    fleet = Fleet(env, replicas, Both())

    def failing():
        yield env.timeout(5)
        fleet.fail(0)

    env.process(failing())
    broken, moved = jobs = [Job(0, 0, 1, 11), Job(1, 1, 1, 11)]
    replay(env, fleet, jobs)
    assert (broken.status, broken.end) == (Status.BROKEN, 5)
    assert moved.status is Status.ANSWERED
    assert moved.end == pytest.approx(15, abs=0.01)


def test_the_queue_of_one_server():
    """M/M/1: with arrivals at 0.7 of what it can do, the mean time is 1 / (1 - 0.7) services."""
    draw = random.Random(5)
    at, jobs = 0.0, []
    for number in range(100_000):
        at += draw.expovariate(0.7 / 1000)
        jobs.append(Job(at, number, 1, 2 + round(draw.expovariate(1 / 1000))))
    times = [job.end - job.at for job in run(jobs)]
    assert mean(times) == pytest.approx(1000 / (1 - 0.7), rel=0.08)


def test_refusals_of_servers_without_a_queue():
    """Erlang's formula: with 4 places and work for 3, a fifth is lost, and it does not matter how answers vary."""
    draw = random.Random(6)
    at, jobs = 0.0, []
    for number in range(60_000):
        at += draw.expovariate(3 / 1000)
        jobs.append(Job(at, number, 1, 1001))
    done = run(jobs, speed=Speed((0, 1, 1, 1, 1), FAST), slots=4, queue=0)
    lost = mean(job.status is Status.REFUSED for job in done)
    erlang = 3**4 / math.factorial(4) / sum(3**k / math.factorial(k) for k in range(5))
    assert lost == pytest.approx(erlang, rel=0.05)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 400), st.integers(1, 60)), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(0, 5),
)
def test_whatever_comes_has_an_end(asked, slots, queue):
    jobs = [Job(at / 10, number, prompt, answer) for number, (at, prompt, answer) in enumerate(sorted(asked))]
    speed = Speed((0, 0.02, 0.025, 0.03, 0.035), 0.002, chunk=64)
    for job in run(jobs, speed=speed, slots=slots, queue=queue):
        assert job.status in {Status.ANSWERED, Status.REFUSED}
        if job.status is Status.ANSWERED:
            assert job.at <= job.begun < job.first <= job.end + 1e-9
            # Nobody is faster than alone.
            assert job.end - job.begun >= job.prompt * speed.reading + (job.answer - 1) * speed.steps[1] - 1e-6


def test_the_ring_keeps_conversations_and_spreads_them():
    draw = random.Random(3)
    ring = Ring(10, draw)
    conversations = [draw.getrandbits(64) for _ in range(20_000)]
    homes = [ring.ranked(each)[0] for each in conversations]
    assert [ring.ranked(each)[0] for each in conversations] == homes
    shares = [homes.count(replica) / len(homes) for replica in range(10)]
    assert min(shares) > 0.05
    assert max(shares) < 0.16
    assert all(len(set(ring.ranked(each))) == 3 for each in conversations[:100])


def test_two_choices_prefers_who_has_less():
    env = simpy.Environment()
    replicas = [Replica(env, STEPS, 1, 9) for _ in range(2)]
    replicas[0].offer(Job(0, 0, 1, 5))
    assert list(TwoChoices(replicas, random.Random(1)).ranked(0)) == [1, 0]
