"""Answers for as long as somebody is there to read them: who leaves ends the work."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Generic, Protocol, TypeVar

import anyio
from fastapi import Response
from starlette.types import Receive, Scope, Send

ResultT = TypeVar("ResultT")
GeneratedT_contra = TypeVar("GeneratedT_contra", contravariant=True)

PATIENCE = 30.0
"""Seconds in which a client must have read some of what it is sent; after once to twice as many it counts as gone."""


FAILED = "mistral_client.failed"
"""Key of the last message of an answer that failed half-way: its connection is to be closed. No part of ASGI; servers
that do not know it take no notice."""


class Wording(Protocol[GeneratedT_contra]):
    """How what is generated goes onto the wire.

    failed: an event has said what went wrong.
    """

    failed: bool

    def events(self, generated: GeneratedT_contra, /) -> AsyncGenerator[bytes, None]: ...


class EventStream(Response, Generic[GeneratedT_contra]):
    """Sends events as they are generated; a client that leaves, or does not read, ends the generation."""

    media_type = "text/event-stream"

    def __init__(
        self,
        answer: Wording[GeneratedT_contra],
        generation: AbstractAsyncContextManager[GeneratedT_contra],
        patience: float = PATIENCE,
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._answer = answer
        self._generation = generation
        self._patience = patience

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        begun = ended = 0

        async def run() -> None:
            nonlocal begun, ended
            async with self._generation as generated, aclosing(self._answer.events(generated)) as events:
                async for event in events:
                    if not begun:
                        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    begun += 1
                    await send({"type": "http.response.body", "body": event, "more_body": True})
                    ended += 1
            await send({"type": "http.response.body", "body": b"", FAILED: self._answer.failed})

        async def unread() -> None:
            # Not a deadline for each event: those would take a tenth of the time that it takes.
            while True:
                seen = begun
                await anyio.sleep(self._patience)
                if ended < begun == seen:
                    return

        # A client that does not read gets no end of the body: the ASGI server closes its connection.
        await while_connected(receive, run, unread)


async def while_connected(
    receive: Receive, work: Callable[[], Awaitable[ResultT]], gone: Callable[[], Awaitable[object]] | None = None
) -> ResultT | None:
    """Does the work, but no longer than the client is there; None if it left before the end.

    gone: returns when the client counts as gone for another reason.
    """
    result: ResultT | None = None
    raised: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def disconnected() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def end_after(watch: Callable[[], Awaitable[object]]) -> None:
            await watch()
            tasks.cancel_scope.cancel()

        for watch in (disconnected, gone) if gone else (disconnected,):
            tasks.start_soon(end_after, watch)
        try:
            result = await work()
        except Exception as error:  # noqa: BLE001, raised again below: here it would come out in a group
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised
    return result
