"""Takes requests up a few at a time, so that a crowd that comes at once does not keep anything else waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_AT_ONCE = 4
"""About a millisecond of work, where they are refused."""


class Pace:
    """Calls functions in their order, some in each turn of an event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._has_turn = False

    def take(self, loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
        """Have this called when its time comes."""
        self._waiting.append(work)
        self._ask_for_turn(loop)

    def _ask_for_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._has_turn:
            self._has_turn = True
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for _ in range(min(_AT_ONCE, len(self._waiting))):
                self._waiting.popleft()()
        finally:
            self._has_turn = False
            self._ask_for_turn(loop)
