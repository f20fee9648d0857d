"""From other threads to an event loop, without waiting for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import sniffio

ItemT = TypeVar("ItemT")


class Mailbox(Generic[ItemT]):
    """Made in the event loop, asyncio's or trio's, that takes out in order what threads put in."""

    def __init__(self) -> None:
        self._items: deque[ItemT] = deque()
        self._there = anyio.Event()
        self._wake = _waker()

    def put(self, item: ItemT) -> None:
        """From any thread. Raises `RuntimeError` when the event loop has ended."""
        self._items.append(item)
        self._wake(self._notice)

    async def take(self) -> ItemT:
        """The next one, which may have to come first."""
        while not self._items:
            self._there = anyio.Event()
            await self._there.wait()
        return self._items.popleft()

    def _notice(self) -> None:
        self._there.set()


def _waker() -> Callable[[Callable[[], None]], object]:
    """How another thread has a function run in this event loop, without waiting for it."""
    if sniffio.current_async_library() == "trio":
        import trio  # noqa: PLC0415, only where it runs already

        return trio.lowlevel.current_trio_token().run_sync_soon
    return asyncio.get_running_loop().call_soon_threadsafe
