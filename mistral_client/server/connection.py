"""Answers for as long as somebody is there to read them: who leaves ends the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import TypeVar

import anyio
from fastapi import Response
from starlette.types import Receive, Scope, Send

from .chat import Answer
from .generation import Event

ResultT = TypeVar("ResultT")

PATIENCE = 30.0
"""Seconds in which a client must have read some of what it is sent; then it counts as gone."""


FAILED = "mistral_client.failed"
"""Key of the last message of an answer that failed half-way: its connection is to be closed. No part of ASGI; servers
that do not know it take no notice."""


class EventStream(Response):
    """Sends events as they are generated; a client that leaves, or does not read, ends the generation."""

    media_type = "text/event-stream"

    def __init__(
        self,
        answer: Answer,
        generation: AbstractAsyncContextManager[AsyncIterator[Event]],
        patience: float = PATIENCE,
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._answer = answer
        self._generation = generation
        self._patience = patience

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        async def run() -> None:
            started = False
            async with self._generation as generated, aclosing(self._answer.events(generated)) as events:
                async for event in events:
                    if not started:
                        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                        started = True
                    with anyio.fail_after(self._patience):
                        await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", FAILED: self._answer.failed})

        # Without the end of the body: the ASGI server closes the connection of a client that does not read.
        with suppress(TimeoutError):
            await while_connected(receive, run)


async def while_connected(receive: Receive, work: Callable[[], Awaitable[ResultT]]) -> ResultT | None:
    """Does the work, but no longer than the client is there; None if it left before the end."""
    result: ResultT | None = None
    raised: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        try:
            result = await work()
        except Exception as error:  # noqa: BLE001, raised again below: here it would come out in a group
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised
    return result
