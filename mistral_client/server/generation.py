"""Runs an engine off the event loop: its pieces of text come as they are made, and who leaves frees its slot."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import anyio
from anyio import from_thread, to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from .engine import Engine, EngineError, Generation, Sampling


@asynccontextmanager
async def generating(
    engine: Engine, slots: anyio.CapacityLimiter, prompt: Sequence[int], sampling: Sampling
) -> AsyncIterator[AsyncIterator[str | Generation]]:
    """Pieces of text, empty ones while the prompt is read, then the `Generation` that sums them up.

    Waits for a free slot. Leaving the block, also by cancellation, ends the generation: at once while it waits, within
    a token while it runs. The iterator raises `EngineError` when the engine does.
    """
    sender, receiver = anyio.create_memory_object_stream[str | Generation | EngineError](math.inf)
    left = threading.Event()

    def emit(text: str) -> bool:
        if not left.is_set():
            from_thread.run_sync(sender.send_nowait, text)
        return left.is_set()

    async def run() -> None:
        with sender:
            try:
                outcome: Generation | EngineError = await to_thread.run_sync(
                    engine.generate, prompt, sampling, emit, limiter=slots
                )
            except EngineError as error:
                outcome = error
            sender.send_nowait(outcome)

    raised: Exception | None = None
    with receiver:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            try:
                yield _Pieces(receiver)
            except Exception as error:  # noqa: BLE001, raised again below: here it would come out in a group
                raised = error
            finally:
                # The thread is not abandoned: leaving takes as long as the engine's next look at `emit`.
                left.set()
                tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised


class _Pieces:
    """Not an async generator: left half-way, that would have to be closed by whoever holds it."""

    def __init__(self, receiver: MemoryObjectReceiveStream[str | Generation | EngineError]) -> None:
        self._receiver = receiver

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | Generation:
        piece = await anext(self._receiver)
        if isinstance(piece, EngineError):
            raise piece
        return piece
