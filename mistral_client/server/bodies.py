"""Bodies of requests: of the right kind, within a size, and of all requests together within what memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import errors, memory
from .errors import WireError
from .guard import MAX_BODY, refusal, turn_away

SMALL = 64 * 2**10
"""Bytes up to which a body counts for nothing: large ones cannot keep small ones out."""

TOGETHER = 64 * 2**20
"""Bytes of all larger bodies that are here at the same time."""

_COPIES = 8
"""Times a body's size that it takes in memory until its prompt is made. Bodies of many values, which would take more,
are refused when they are parsed."""

_LEAST = 16 * 2**20
"""Bytes that any request may take."""


class Bodies:
    """Middleware that reads the body before the application runs, or says why not.

    most: bytes of one body. together: bytes of all of them.
    available: how much memory there is, in bytes.
    """

    def __init__(
        self,
        app: ASGIApp,
        most: int = MAX_BODY,
        *,
        together: int = TOGETHER,
        available: Callable[[], int] = memory.available,
    ) -> None:
        self._app = app
        self._most = most
        self._together = together
        self._available = available
        self._taken = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._room() as take:
            try:
                self._look_at_declaration(scope["method"], Headers(scope=scope))
                body = await self._read(receive, take)
            except WireError as error:
                await turn_away(error.response(), receive, send)
                return
            if body is None:
                return  # nobody is there any more
            unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
            del body

            async def replay() -> Message:
                return unread.pop() if unread else await receive()

            await self._app(scope, replay, send)

    def _look_at_declaration(self, method: str, headers: Headers) -> None:
        """What can be said against a body before it is read. Raises `WireError`."""
        length = int(headers.get("content-length", "0"))
        if length > self._most:
            raise self._too_large()
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise refusal(415, "The body must not be compressed.")
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method != "POST":
            return
        # A web page can send other types anywhere without asking first.
        if media_type != "application/json":
            raise refusal(415, "The body must have the content type application/json.")
        free = self._available()
        expected = self._most if "transfer-encoding" in headers else length
        if free < _LEAST + _COPIES * expected:
            raise errors.no_memory()

    async def _read(self, receive: Receive, take: Callable[[int], None]) -> bytes | None:
        """The whole body; None if the client leaves in the middle. Raises `WireError` at the limits."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self._most:
                raise self._too_large()
            take(len(body))
            if not message.get("more_body", False):
                return bytes(body)

    @contextmanager
    def _room(self) -> Iterator[Callable[[int], None]]:
        """Room for one body, which tells how large it is by now. Raises `WireError` when there is no more."""
        mine = 0

        def take(size: int) -> None:
            nonlocal mine
            if size <= SMALL:
                return
            if self._taken - mine + size > self._together:
                raise errors.no_memory()
            self._taken += size - mine
            mine = size

        try:
            yield take
        finally:
            self._taken -= mine

    def _too_large(self) -> WireError:
        return refusal(413, f"The body is larger than {self._most} bytes.")
