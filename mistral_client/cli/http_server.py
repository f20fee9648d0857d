"""uvicorn, and how it ends: answers on their way get a moment, then the engine stops and they end with an error."""

from __future__ import annotations

import signal
import socket
import threading
from types import FrameType

import uvicorn

from mistral_client.server.app import create_app
from mistral_client.server.loading import Loaded

GRACE = 3
"""Seconds that answers on their way are given."""


class Server(uvicorn.Server):
    """Serves a model until SIGINT or SIGTERM; a second one ends the moment of grace.

    Left to uvicorn, answers that take too long would be torn off in the middle of a line. With their engine closed they
    end like any answer whose model failed: with an error that clients can read.
    """

    def __init__(self, loaded: Loaded, log_level: str) -> None:
        """Raises `EngineError` for a model whose prompts nobody here knows how to write."""
        app = create_app(loaded=loaded)
        # The limit is for clients that do not read what they are sent.
        super().__init__(uvicorn.Config(app, log_level=log_level, timeout_graceful_shutdown=2 * GRACE))
        self._engine = loaded.engine
        self._hurry = threading.Event()

    def listen(self, listener: socket.socket) -> None:
        """Serve the connections of a socket that listens already."""
        # uvicorn has handlers of its own while it runs, and raises what they caught once more when it has shut down.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)
        self.run(sockets=[listener])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self._hurry.set()
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        closing = threading.Thread(target=self._close_engine, name="mistral-client serve, closing the engine")
        closing.start()
        await super().shutdown(sockets)
        self._hurry.set()
        closing.join()

    def _close_engine(self) -> None:
        self._hurry.wait(GRACE)
        self._engine.close()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.should_exit = True
