"""A crowd's work is done a few pieces a turn, in order, with all else in between."""

from __future__ import annotations

import asyncio

from mistral_client.cli.pacing import _AT_ONCE, Pace


def test_a_few_each_turn_in_order():
    done = []

    async def main():
        loop, pace = asyncio.get_running_loop(), Pace()
        for number in range(3 * _AT_ONCE):
            pace.take(loop, lambda number=number: done.append(number))
        for turn in range(1, 4):
            await asyncio.sleep(0)
            assert len(done) == turn * _AT_ONCE
        pace.take(loop, lambda: done.append("later"))
        await asyncio.sleep(0)

    asyncio.run(main())
    assert done == [*range(3 * _AT_ONCE), "later"]


def test_work_that_brings_more_work_and_work_that_fails():
    done = []

    async def main():
        loop, pace = asyncio.get_running_loop(), Pace()
        failures = []
        loop.set_exception_handler(lambda _loop, context: failures.append(context["exception"]))
        pace.take(loop, lambda: pace.take(loop, lambda: done.append("brought")))
        pace.take(loop, lambda: 1 / 0)
        pace.take(loop, lambda: done.append("after"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(failures) == 1

    asyncio.run(main())
    assert sorted(done) == ["after", "brought"]
