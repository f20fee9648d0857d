"""HTTP/1.1 on a port of this machine, a thread for each connection: reads requests, and does what answers them."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

import h11

from .answer import Break, Head, Steps

_READ = 65536
_SOON = 0.02
"""Seconds in which a client reads what came before a reset. Not every system lets it read that afterwards."""

_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""Closing sends a reset."""


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    content: bytes


class Listener:
    """answer: the steps that answer a request. They run in the thread of its connection, and are closed in any case."""

    def __init__(self, answer: Callable[[Received], Steps]) -> None:
        self._answer = answer
        self._closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, name="mistral_server", daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Break all connections; what is being answered ends."""
        if self._closing.is_set():
            return
        self._closing.set()
        # A connection wakes who waits for one. Closing does not, on every system.
        with suppress(OSError):
            socket.create_connection(self._listener.getsockname()).close()
        self._threads[0].join()
        self._listener.close()
        for connection in [*self._connections]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing.is_set():
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.add(connection)
            thread = threading.Thread(target=self._serve, args=[connection], name="mistral_server", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, h11.ProtocolError):
            http = h11.Connection(h11.SERVER)
            while (received := _read(connection, http)) is not None and self._send(connection, http, received):
                if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                    break
                http.start_next_cycle()
        self._connections.discard(connection)

    def _send(self, connection: socket.socket, http: h11.Connection, received: Received) -> bool:
        """Answer a request; whether the answer came to its end."""
        with closing(self._answer(received)) as steps:
            for step in steps:
                if isinstance(step, float):
                    if self._closing.wait(step):
                        return False
                elif isinstance(step, Break):
                    if step is Break.reset:
                        self._closing.wait(_SOON)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
                    return False
                elif isinstance(step, Head):
                    connection.sendall(http.send(h11.Response(status_code=step.status, headers=step.headers)) or b"")
                else:
                    connection.sendall(http.send(h11.Data(step)) or b"")
            connection.sendall(http.send(h11.EndOfMessage()) or b"")
        return True


def _read(connection: socket.socket, http: h11.Connection) -> Received | None:
    """The next request of a connection; None at its end."""
    request: h11.Request | None = None
    content = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                connection.sendall(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            http.receive_data(connection.recv(_READ))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            content += event.data
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
            return Received(request.method.decode(), request.target.decode(), headers, bytes(content))
        else:
            return None
