"""uvicorn's HTTP protocol, where it is strict about requests and has no patience with slow ones."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import h11
import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from mistral_client.server.connection import FAILED, PATIENCE
from mistral_client.server.errors import WireError
from mistral_client.server.guard import LINGER, OPEN, refusal

from .pacing import Pace
from .strict_http import MAX_HEAD, StrictConnection

HEAD_TIMEOUT = 10.0
"""Seconds until a request's head is there."""

BODY_TIMEOUT = 30.0
"""Seconds until its body is."""

MAX_CONNECTIONS = 4096
"""Open ones. When there are more the ones that nobody uses are closed, or else the new ones refused."""

_HEALTH = f"GET {OPEN} ".encode()

_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
"""Linger, for 0 seconds: what is not sent yet is given up."""

EarlyRefusal = Callable[[str, str, Headers], WireError | None]
"""What the application would surely refuse, by method, path and header fields, and how."""


class Config(uvicorn.Config):
    """uvicorn's settings and ours."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.head_timeout = HEAD_TIMEOUT
        self.body_timeout = BODY_TIMEOUT
        self.patience = PATIENCE
        """Seconds in which a client must have read some of what it is sent."""
        self.max_connections = MAX_CONNECTIONS
        self.early_refusal: EarlyRefusal = lambda _method, _path, _headers: None
        self.pace = Pace()
        self.idle: dict[StrictProtocol, None] = {}
        """Connections whose clients want nothing now, those that were done first at the front."""


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
        self._max_connections = config.max_connections
        self._patience = config.patience
        self._early_refusal = config.early_refusal
        self._pace = config.pace
        self._idle = config.idle
        self._unread = b""
        self._phase: object = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client is there, and has to say what it wants."""
        super().connection_made(transport)
        self.app = _closing_after_failure(self.app, transport)
        # Told by asyncio only for sockets that name their protocol. Without, the second part of an answer waits until
        # the client has acknowledged the first, which takes its system 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What the system does not take at once is seen at once.
        transport.set_write_buffer_limits(0)
        if len(self.connections) > self._max_connections:
            self._make_room()
        self._idle[self] = None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._idle.pop(self, None)
        self._stop_watching()
        self._stop_waiting_for_reader()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More of a request. How the server is gets its answer at once, the rest when its turn comes."""
        self._idle.pop(self, None)
        if not self._unread and data.startswith(_HEALTH):
            self._take(data)
            return
        if not self._unread:
            self._pace.take(self.loop, self._take_unread)
        self._unread += data
        if len(self._unread) > MAX_HEAD:
            self.flow.pause_reading()

    def _take_unread(self) -> None:
        data, self._unread = self._unread, b""
        if not self.transport.is_closing():
            if len(data) > MAX_HEAD:
                self.flow.resume_reading()
            self._take(data)

    def _take(self, data: bytes) -> None:
        if self._refused or self._refused_early(data):
            return
        H11Protocol.data_received(self, data)
        if self.conn.their_state is h11.DONE and self.flow.read_paused:
            self._hold_next_request()
        self._watch()

    def on_response_complete(self) -> None:
        """The next request may come."""
        super().on_response_complete()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self._idle[self] = None
        self._watch()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is sent to."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """It has read all."""
        super().resume_writing()
        self._stop_waiting_for_reader()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002, ours says more
        """Refuse what is no request."""
        self._refuse(self.conn.status, self.conn.reason)

    def _refused_early(self, data: bytes) -> bool:
        """Whether this was a whole request that is refused without the application, for a tenth of the cost."""
        if self.conn.their_state is not h11.IDLE or self.conn.trailing_data[0] or not data.startswith(b"POST "):
            return False
        ahead, events = StrictConnection(), []
        ahead.receive_data(data)
        try:
            while (event := ahead.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                events.append(event)
        except h11.RemoteProtocolError:
            return False
        request, end = (events[0], events[-1]) if events else (None, None)
        if not isinstance(request, h11.Request) or not isinstance(end, h11.EndOfMessage) or ahead.trailing_data[0]:
            return False
        path = unquote(request.target.partition(b"?")[0].decode("ascii"))
        error = self._early_refusal(request.method.decode("ascii"), path, Headers(raw=list(request.headers)))
        if error is None:
            return False
        last = ahead.their_state is not h11.DONE or error.status == 503
        self._unset_keepalive_if_required()
        self._write(error, b"close" if last else b"keep-alive")
        self.on_response_complete()
        if last:
            self.transport.close()
        return True

    def _hold_next_request(self) -> None:
        """Keep reading while an answer is made, or nobody would notice that the client leaves."""
        if len(self.conn.trailing_data[0]) > MAX_HEAD:
            self.transport.abort()
        else:
            self.flow.resume_reading()

    def _make_room(self) -> None:
        """Close the connection that nobody has used for longest; without such a one, this one."""
        for other in self._idle:
            other.transport.close()
            del self._idle[other]
            return
        self._refuse(503, "There are too many connections.")

    def _wait_for_reader(self) -> None:
        size = self.transport.get_write_buffer_size()
        self._unsent = self.loop.call_later(self._patience, self._look_at_reader, size)

    def _look_at_reader(self, size: int) -> None:
        if self.transport.get_write_buffer_size() < size:
            self._wait_for_reader()
        else:
            # Not closed: the transport, and then the system, would wait for the client to read.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def _stop_waiting_for_reader(self) -> None:
        if self._unsent is not None:
            self._unsent.cancel()
            self._unsent = None

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
        self._write(refusal(status, message), b"close")
        # Closed while bytes arrive, the connection would be reset, and the answer perhaps lost.
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)

    def _write(self, error: WireError, connection: bytes) -> None:
        """Answer without the application."""
        response = error.response()
        phrase = HTTPStatus(error.status).phrase
        if self.access_log:
            self.access_logger.info('%s - "%s" %d', ":".join(map(str, self.client or ())), phrase, error.status)
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            (b"connection", connection),
            (b"mistral-correlation-id", str(uuid.uuid4()).encode()),
        ]
        lines = [f"HTTP/1.1 {error.status} {phrase}".encode(), *(b": ".join(header) for header in headers), b"", b""]
        self.transport.write(b"\r\n".join(lines) + bytes(response.body))


def _closing_after_failure(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    """The application, after whose failed answers the connection is closed. It does not hold the protocol, which holds
    it: a thousand such circles take the garbage collector 45 ms.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            failed = message.get(FAILED) and not transport.is_closing()
            if failed and hasattr(socket, "TCP_CORK"):
                # The last bytes and the end go out together, or the client might send its next request in between.
                transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            await send(message)
            if failed:
                transport.write_eof()
                transport.close()

        await app(scope, receive, sent)

    return run
