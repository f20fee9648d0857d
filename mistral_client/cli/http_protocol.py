"""uvicorn's HTTP protocol, where it is strict about requests and has no patience with slow ones."""

from __future__ import annotations

import asyncio
import uuid
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from mistral_client.server.guard import LINGER, refusal

from .strict_http import MAX_HEAD, StrictConnection

HEAD_TIMEOUT = 10.0
"""Seconds until a request's head is there."""

BODY_TIMEOUT = 30.0
"""Seconds until its body is."""


class Config(uvicorn.Config):
    """uvicorn's settings, with the seconds that a client has for the head of a request and for its body."""

    head_timeout = HEAD_TIMEOUT
    body_timeout = BODY_TIMEOUT


class StrictProtocol(H11Protocol):
    """One connection. A client that ends its side of it has left."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn: StrictConnection = StrictConnection()
        self._seconds: dict[object, float] = {h11.IDLE: config.head_timeout, h11.SEND_BODY: config.body_timeout}
        self._phase: object = None
        self._deadline: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client is there, and has to say what it wants."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_watching()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        if self._refused:
            return
        super().data_received(data)
        if self.conn.their_state is h11.DONE and self.flow.read_paused:
            self._hold_next_request()
        self._watch()

    def on_response_complete(self) -> None:
        """The next request may come."""
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002, ours says more
        """Refuse what is no request."""
        self._refuse(self.conn.status, self.conn.reason)

    def _hold_next_request(self) -> None:
        """Keep reading while an answer is made, or nobody would notice that the client leaves."""
        if len(self.conn.trailing_data[0]) > MAX_HEAD:
            self.transport.abort()
        else:
            self.flow.resume_reading()

    def _watch(self) -> None:
        """One deadline for each head and one for each body, from their beginning."""
        phase = None if self.transport.is_closing() else self.conn.their_state
        if phase is self._phase:
            return
        self._stop_watching()
        self._phase = phase
        if phase in self._seconds:
            self._deadline = self.loop.call_later(self._seconds[phase], self._too_slow)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()
        else:
            self._refuse(408, "The request did not come in time.")

    def _refuse(self, status: int, message: str) -> None:
        """Answer in place of the application and close the connection; just close it if the application has begun."""
        self._refused = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        response = refusal(status, message).response()
        response.headers["connection"] = "close"
        response.headers["mistral-correlation-id"] = str(uuid.uuid4())
        for event in (
            h11.Response(status_code=status, headers=response.raw_headers, reason=HTTPStatus(status).phrase),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        # Closed while bytes arrive, the connection would be reset, and the answer perhaps lost.
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)
