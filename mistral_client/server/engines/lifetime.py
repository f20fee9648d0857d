"""How long an engine is open: until it is told to close and nobody uses it any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mistral_client.server.engine import EngineError


class Lifetime:
    """Counts who uses an engine, from several threads."""

    def __init__(self) -> None:
        self._idle = threading.Condition()
        self._running = 0
        self._closing = threading.Event()

    def check(self) -> None:
        """Raises `EngineError` once the engine is told to close: what runs ends here."""
        if self._closing.is_set():
            raise EngineError("the engine is closed")

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the engine from being closed. Raises `EngineError` where it is."""
        with self._idle:
            self.check()
            self._running += 1
        try:
            yield
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Close: in the block nobody uses the engine, and nobody will."""
        self._closing.set()
        with self._idle:
            self._idle.wait_for(lambda: not self._running)
            yield
