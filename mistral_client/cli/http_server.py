"""uvicorn, and how it ends: answers on their way get a moment, then the engines stop and they end with an error."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from mistral_client.server.app import create_app
from mistral_client.server.catalogue import Catalogue
from mistral_client.server.connection import PATIENCE
from mistral_client.server.guard import Guard
from mistral_client.server.inspector import Inspector
from mistral_client.server.inspector.recorder import recorded
from mistral_client.server.turnstile import early_refusal

from .http_protocol import BODY_TIMEOUT, HEAD_TIMEOUT, MAX_CONNECTIONS, Config, StrictProtocol

GRACE = 3
"""Seconds that answers on their way are given."""

_BACKLOG = 2048
"""Connections that the system holds until they are accepted."""

_ACCEPTED_AT_ONCE = 32
"""asyncio takes the same number for both. Of a thousand that come together it would accept all before it does anything
else."""

_SPARE = 128
"""Open files beside connections."""

LAST_WORDS = 0.5
"""Seconds for the errors to reach the clients when the engine is closed; for those that do not read."""

_LAST_RESORT = 0.9
"""Seconds from then on after which the process ends as it is. Native code may be in the middle of a batch of a large
model, and cannot be called back."""


class Server(uvicorn.Server):
    """Serves models until SIGINT or SIGTERM; a second one ends the moment of grace.

    Left to uvicorn, answers that take too long would be torn off in the middle of a line. With their engine closed they
    end like any answer whose model failed: with an error that clients can read.
    """

    def __init__(
        self,
        models: Catalogue[Any],
        log_level: str,
        *,
        add_calls: Callable[[FastAPI], None] | None = None,
        guard: Guard | None = None,
        grace: float = GRACE,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        lenient: bool = False,
        head_timeout: float = HEAD_TIMEOUT,
        body_timeout: float = BODY_TIMEOUT,
        patience: float = PATIENCE,
        inspector: Inspector | None = None,
    ) -> None:
        """add_calls: as for `create_app`.
        grace: seconds that answers on their way are given.
        requests_per_minute, tokens_per_minute: of each key; None is no limit.

        head_timeout, body_timeout: seconds that a client has for the parts of a request. patience: seconds in which it
        must have read some of what it is sent. inspector: shows what is asked.
        """
        app = create_app(
            models=models,
            add_calls=add_calls,
            guard=guard,
            lenient=lenient,
            patience=patience,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            inspector=inspector,
        )
        # Behind a proxy the address of a client in the log is the proxy's: headers are not believed.
        config = Config(
            app, http=StrictProtocol, ws="none", log_level=log_level, proxy_headers=False, backlog=_ACCEPTED_AT_ONCE
        )
        config.head_timeout, config.body_timeout, config.patience = head_timeout, body_timeout, patience
        if guard is not None:
            refusal = partial(early_refusal, guard, app.state.crowded)
            config.early_refusal = refusal if inspector is None else recorded(inspector, refusal)
        super().__init__(config)
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        self._settings = config
        self._last_resort: threading.Timer | None = None
        self._models = models
        self._inspector = inspector
        self._grace = grace
        self._hurry = threading.Event()

    def listen(self, listener: socket.socket) -> None:
        """Serve the connections of a socket that listens already."""
        # uvicorn has handlers of its own while it runs, and raises what they caught once more when it has shut down.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)
        # What is here now stays. Looked through again and again for garbage, it would hold everything up.
        gc.collect()
        gc.freeze()
        self._settings.max_connections = min(MAX_CONNECTIONS, _descriptors() - _SPARE)
        self._last_resort = threading.Timer(_LAST_RESORT, os._exit, [0])
        self._last_resort.daemon = True
        self.run(sockets=[listener])
        self._last_resort.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self._hurry.set()
        else:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._models.refuse()
        if self._inspector is not None:
            self._inspector.close()
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
        if self._last_resort is not None:
            self._last_resort.start()
        self._models.close()

    def _cut_off(self) -> None:
        for connection in [*self.server_state.connections]:
            connection.transport.abort()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.should_exit = True


def _is_news(record: logging.LogRecord) -> bool:
    """All but what uvicorn says of an answer that has no end because its client does not read."""
    return record.msg != "ASGI callable returned without completing response."


def _descriptors() -> int:
    """How many files and sockets this process may have open. Systems begin with few, for old programs' sake."""
    try:
        import resource
    except ImportError:
        return MAX_CONNECTIONS + _SPARE
    enough = MAX_CONNECTIONS + _SPARE
    allowed, possible = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < enough:
        allowed = enough if possible == resource.RLIM_INFINITY else min(enough, possible)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, possible))
    return allowed
