"""Bodies within a size, within a sum of all that are here, and within the memory that there is."""

from __future__ import annotations

import json

import anyio
import psutil
import pytest
from starlette.responses import PlainTextResponse

from mistral_client.server import memory
from mistral_client.server.bodies import SMALL, Bodies

pytestmark = pytest.mark.anyio

PIECE = 2**15


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


class Exchange:
    """A request whose body comes piece by piece, and what is answered."""

    def __init__(self, bodies, length=None):
        headers = [(b"content-type", b"application/json")]
        headers.append((b"transfer-encoding", b"chunked") if length is None else (b"content-length", b"%d" % length))
        self.scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        self.sender, self.receiver = anyio.create_memory_object_stream(100)
        self.sent = []
        self.bodies = bodies

    async def run(self):
        with self.sender, self.receiver:
            await self.bodies(self.scope, self.receive, self.send)

    async def receive(self):
        return await self.receiver.receive()

    async def send(self, message):
        self.sent.append(message)

    async def bring(self, size, more=True):
        for _ in range(size // PIECE):
            self.sender.send_nowait({"type": "http.request", "body": b" " * PIECE, "more_body": True})
        self.sender.send_nowait({"type": "http.request", "body": b" " * (size % PIECE), "more_body": more})
        await anyio.wait_all_tasks_blocked()

    @property
    def status(self):
        return self.sent[0]["status"] if self.sent else None

    @property
    def message(self):
        return json.loads(b"".join(message.get("body", b"") for message in self.sent))["message"]


async def waiting(scope, receive, send):
    """Reads the body, and answers when its client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    await PlainTextResponse("fine")(scope, receive, send)


async def test_all_large_bodies_together_have_a_bound():
    bodies = Bodies(waiting, together=4 * SMALL, available=lambda: 2**40)
    async with anyio.create_task_group() as tasks:
        exchanges = [Exchange(bodies) for _ in range(6)]
        for exchange in exchanges:
            tasks.start_soon(exchange.run)
        first, second, third, *small = exchanges
        await first.bring(2 * SMALL)
        await second.bring(SMALL)
        assert [exchange.status for exchange in exchanges] == [None] * 6
        await third.bring(SMALL + PIECE)
        assert third.status is None, "there is room for two and one and a half"
        await second.bring(1)
        assert (second.status, second.message) == (503, "Memory is short.")
        for exchange in small:
            await exchange.bring(SMALL, more=False)
            assert exchange.status is None, "small bodies do not count"
        for exchange in (first, second, third, *small):
            exchange.sender.send_nowait({"type": "http.disconnect"})
        await anyio.wait_all_tasks_blocked()
        assert [exchange.status for exchange in small] == [200] * 3
        tasks.cancel_scope.cancel()
    assert bodies._taken == 0


async def test_a_body_has_its_room_until_it_is_answered():
    bodies = Bodies(waiting, together=2 * SMALL, available=lambda: 2**40)
    async with anyio.create_task_group() as tasks:
        first, second, third = (Exchange(bodies) for _ in range(3))
        for exchange in (first, second, third):
            tasks.start_soon(exchange.run)
        await first.bring(2 * SMALL, more=False)
        await second.bring(2 * SMALL, more=False)
        assert (first.status, second.status) == (None, 503)
        first.sender.send_nowait({"type": "http.disconnect"})
        await anyio.wait_all_tasks_blocked()
        assert first.status == 200
        await third.bring(2 * SMALL, more=False)
        assert third.status is None
        tasks.cancel_scope.cancel()
    assert bodies._taken == 0


@pytest.mark.parametrize(("length", "status"), [(1000, 200), (2**20, 200), (4 * 2**20, 503), (None, 503)])
async def test_row_20_memory_is_short_by_an_estimate(length, status):
    """Refused before it is read: with 32 MiB left a body of 1 MiB is taken, one of 4 MiB or of unknown size is not."""
    bodies = Bodies(waiting, available=lambda: 32 * 2**20)
    exchange = Exchange(bodies, length)
    exchange.sender.send_nowait({"type": "http.request", "body": b"{}"})
    exchange.sender.send_nowait({"type": "http.disconnect"})
    await exchange.run()
    assert exchange.status == status
    if status == 503:
        assert exchange.message == "Memory is short."


def test_the_memory_that_there_is(tmp_path):
    machine = psutil.virtual_memory()
    group = tmp_path / "group"
    assert memory.total(group) == machine.total
    assert 0 < memory.available(group) < machine.total
    group.mkdir()
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("3000\n")
    assert memory.total(group) == machine.total
    assert memory.available(group) > 5000
    (group / "memory.max").write_text("5000\n")
    assert (memory.total(group), memory.available(group)) == (5000, 2000)
    (group / "memory.stat").write_text("anon 5\ninactive_file 1000\n")
    assert memory.available(group) == 3000
