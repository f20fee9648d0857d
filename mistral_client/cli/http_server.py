"""uvicorn, and how it ends: answers on their way get a moment, then the engines stop and they end with an error."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from types import FrameType

import uvicorn

from mistral_client.server.app import create_app
from mistral_client.server.guard import Guard
from mistral_client.server.models import Models

from .http_protocol import BODY_TIMEOUT, HEAD_TIMEOUT, Config, StrictProtocol

GRACE = 3
"""Seconds that answers on their way are given."""

LAST_WORDS = 0.5
"""Seconds for the errors to reach the clients when the engine is closed; for those that do not read."""


class Server(uvicorn.Server):
    """Serves models until SIGINT or SIGTERM; a second one ends the moment of grace.

    Left to uvicorn, answers that take too long would be torn off in the middle of a line. With their engine closed they
    end like any answer whose model failed: with an error that clients can read.
    """

    def __init__(
        self,
        models: Models,
        log_level: str,
        *,
        guard: Guard | None = None,
        grace: float = GRACE,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        lenient: bool = False,
        head_timeout: float = HEAD_TIMEOUT,
        body_timeout: float = BODY_TIMEOUT,
    ) -> None:
        """grace: seconds that answers on their way are given.
        requests_per_minute, tokens_per_minute: of each key; None is no limit.

        head_timeout, body_timeout: seconds that a client has for the parts of a request.
        """
        app = create_app(
            models=models,
            guard=guard,
            lenient=lenient,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
        # Behind a proxy the address of a client in the log is the proxy's: headers are not believed.
        config = Config(app, http=StrictProtocol, ws="none", log_level=log_level, proxy_headers=False)
        config.head_timeout, config.body_timeout = head_timeout, body_timeout
        super().__init__(config)
        self._models = models
        self._grace = grace
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
        self._models.refuse()
        closing = threading.Thread(
            target=self._close_models,
            args=[asyncio.get_running_loop()],
            name="mistral-client serve, closing the models",
        )
        closing.start()
        await super().shutdown(sockets)
        self._hurry.set()
        closing.join()

    def _close_models(self, loop: asyncio.AbstractEventLoop) -> None:
        self._hurry.wait(self._grace)
        # The first one is the answer to a second signal or the end of the grace; it may find all answers given.
        if not loop.is_closed() and self.server_state.connections:
            loop.call_soon_threadsafe(loop.call_later, LAST_WORDS, self._cut_off)
        self._models.close()

    def _cut_off(self) -> None:
        for connection in [*self.server_state.connections]:
            connection.transport.abort()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.should_exit = True
