"""Runs an engine off the event loop: its pieces come as they are made, and who leaves frees its slot."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import anyio
from anyio import to_thread

from . import errors
from .admission import Admission, Place
from .engine import Engine, EngineError, Generation, Piece, Sampling
from .errors import WireError
from .mailbox import Mailbox
from .metrics import Observation

Event = tuple[int, Piece | Generation]
"""What comes of the n-th of the generations that run for one request."""

AHEAD = 64
"""Pieces that the engine may be ahead of who takes them; then it waits."""


@asynccontextmanager
async def generating(
    engine: Engine,
    admission: Admission,
    prompt: Sequence[int],
    samplings: Sequence[Sampling],
    *,
    place: Place,
    observation: Observation,
) -> AsyncIterator[AsyncIterator[Event]]:
    """One generation for each sampling: of each its pieces, and last the `Generation` that sums them up.

    They wait for a free slot, as their place has it, and run one after the other. Leaving the block, also by
    cancellation, ends them: at once while they wait, within a token while one runs. The iterator raises `EngineError`
    when the engine does, `WireError` when there is no slot to be had.
    """
    left = threading.Event()
    room = threading.Semaphore(AHEAD)
    events = _Events(room)

    async def run(number: int, sampling: Sampling) -> Generation:
        def emit(piece: Piece) -> bool:
            if piece.text:
                observation.token(number, piece)
            room.acquire()
            if not left.is_set():
                events.put((number, piece))
            return left.is_set()

        generation = await to_thread.run_sync(engine.generate, prompt, sampling, emit, limiter=admission.threads)
        events.put((number, generation))
        return generation

    async def run_all() -> None:
        try:
            async with admission.slot(place):
                observation.started()
                observation.ended([await run(number, sampling) for number, sampling in enumerate(samplings)])
        except (EngineError, WireError) as error:
            events.put(error)
        except MemoryError:
            events.put(errors.no_memory())

    raised: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_all)
        try:
            yield events
        except Exception as error:  # noqa: BLE001, raised again below: here it would come out in a group
            raised = error
        finally:
            # The thread is not abandoned: leaving takes as long as the engine's next look at `emit`.
            left.set()
            room.release()
            tasks.cancel_scope.cancel()
            admission.leave(place)
    if raised is not None:
        raise raised


class _Events:
    """What the generations put in, in order. Not an async generator: left half-way, that would have to be closed by
    whoever holds it.
    """

    def __init__(self, room: threading.Semaphore) -> None:
        self._room = room
        self._mailbox = Mailbox[Event | EngineError | WireError]()
        self.put = self._mailbox.put

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._mailbox.take()
        if isinstance(event, EngineError | WireError):
            raise event
        if isinstance(event[1], Piece):
            self._room.release()
        return event
