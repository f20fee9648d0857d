"""N run, Q wait, the rest is refused: by steps on asyncio and trio."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import lowlevel, wait_all_tasks_blocked

from mistral_client.server.admission import Admission
from mistral_client.server.errors import WireError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


class Guests:
    """Calls that hold their slot until they are told to go."""

    def __init__(self, admission, tasks):
        self.admission = admission
        self.tasks = tasks
        self.served = []
        self.refused = {}
        self.leave = {}
        self.scopes = {}

    async def come(self, name, key=""):
        self.tasks.start_soon(self._call, name, key)
        await wait_all_tasks_blocked()

    async def go(self, name):
        self.leave[name].set()
        await wait_all_tasks_blocked()

    async def give_up(self, name):
        self.scopes[name].cancel()
        await wait_all_tasks_blocked()

    async def _call(self, name, key):
        self.leave[name] = anyio.Event()
        with anyio.CancelScope() as self.scopes[name]:
            try:
                async with self.admission.slot(self.admission.enter(key)):
                    self.served.append(name)
                    await self.leave[name].wait()
            except WireError as error:
                self.refused[name] = error


@asynccontextmanager
async def guests(*args, **options):
    async with anyio.create_task_group() as tasks:
        yield Guests(Admission(*args, **options), tasks)
        tasks.cancel_scope.cancel()


async def test_some_run_some_wait_the_rest_is_refused():
    async with guests(2, 2) as bar:
        for name in "abcde":
            await bar.come(name)
        assert (bar.served, list(bar.refused)) == (["a", "b"], ["e"])
        assert (bar.admission.running, bar.admission.waiting) == (2, 2)
        error = bar.refused["e"]
        assert (error.status, error.body["type"], error.body["code"]) == (429, "service_tier_capacity_exceeded", "3505")
        assert error.body["message"] == "Service tier capacity exceeded for this model."
        assert error.headers == {"retry-after": "2"}, (
            "half a second a call as long as nothing is measured, third in line"
        )
        for name in "abcd":
            await bar.go(name)
        assert bar.served == ["a", "b", "c", "d"]
        assert (bar.admission.running, bar.admission.waiting) == (0, 0)


async def test_retry_after_is_what_was_measured():
    now = 0.0
    async with guests(1, 1, clock=lambda: now) as bar:
        await bar.come("a")
        now = 7.2
        await bar.go("a")
        for name in "bcd":
            await bar.come(name)
        assert bar.refused["d"].headers == {"retry-after": "15"}, "2 x 7.2 seconds"
        now = 10.2
        await bar.go("b")
        await bar.come("e")
        await bar.come("f")
        assert bar.refused["f"].headers == {"retry-after": "13"}, "2 x (7.2 + (3 - 7.2) / 5) seconds"


async def test_without_a_queue_nobody_waits():
    async with guests(1, 0) as bar:
        await bar.come("a")
        await bar.come("b")
        assert list(bar.refused) == ["b"]


async def test_who_leaves_the_queue_leaves_nothing():
    async with guests(1, 2) as bar:
        for name in "abc":
            await bar.come(name)
        await bar.give_up("b")
        assert bar.admission.waiting == 1
        await bar.come("d")
        assert not bar.refused
        await bar.go("a")
        await bar.go("c")
        assert bar.served == ["a", "c", "d"]


async def test_a_slot_given_to_one_who_leaves_at_that_moment_goes_on():
    async with guests(1, 2) as bar:
        for name in "abc":
            await bar.come(name)
        bar.leave["a"].set()
        while bar.admission.waiting == 2:  # until b has been given the slot, and has not run yet
            await lowlevel.checkpoint()
        await bar.give_up("b")
        assert bar.served[-1] == "c"
        await bar.go("c")
        assert bar.admission.running == 0


async def test_keys_take_turns():
    async with guests(1, 8) as bar:
        for name, key in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("b2", "b"), ("c1", "c")):
            await bar.come(name, key)
        for _ in range(5):
            await bar.go(bar.served[-1])
        assert bar.served == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_a_key_that_floods_gives_up_places_to_others():
    async with guests(1, 4) as bar:
        for number in range(6):
            await bar.come(f"flood{number}", "flood")
        assert list(bar.refused) == ["flood5"], "alone, it has the whole queue"
        await bar.come("other1", "other")
        await bar.come("other2", "other")
        assert list(bar.refused) == ["flood5", "flood4", "flood3"], "the latest go first"
        await bar.come("other3", "other")
        assert list(bar.refused)[-1] == "other3", "each has its half"
        await bar.go("flood0")
        assert bar.served == ["flood0", "other1"]


async def test_closing_refuses_who_waits_and_who_comes():
    async with guests(1, 2) as bar:
        await bar.come("a")
        await bar.come("b")
        bar.admission.close()
        await wait_all_tasks_blocked()
        await bar.come("c")
        assert [(error.status, error.body["code"]) for error in bar.refused.values()] == [(503, "1100")] * 2
        assert list(bar.refused) == ["b", "c"]
        await bar.go("a")
        assert bar.admission.running == 0


async def test_nothing_is_kept_of_clients_that_have_gone():
    admission = Admission(1, 1)
    for number in range(1000):
        async with admission.slot(admission.enter(f"key {number}")):
            pass
    assert not admission._clients
