"""What Serve's HTTP proxies need for our clients: errors in Mistral's shape, and conversations that stay together.

Serve finds it by `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`, which its nodes must have in their environment.
"""

from __future__ import annotations

import hashlib
import os

from pydantic_core import from_json, to_json
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import errors
from ..errors import WireError
from ..guard import MAX_BODY

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
PATH = f"{__name__}:middlewares"

_SESSION = os.environ.get("RAY_SERVE_SESSION_ID_HEADER_KEY", "x-session-id").lower().encode()
"""The header by which Serve's router keeps requests together."""

_OURS = b"mistral-correlation-id"
"""Every answer of our application has it."""

_RETRY_AFTER = 1
"""Seconds, where Serve names none."""


def middlewares() -> list[Middleware]:
    """What Serve puts around its proxies."""
    return [Middleware(Proxy)]


class Proxy:
    """Middleware of a proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        if scope["method"] == "POST" and not any(name == _SESSION for name, _ in scope["headers"]):
            receive, body = await _read(receive)
            session = session_of(body)
            if session is not None:
                scope = {**scope, "headers": [*scope["headers"], (_SESSION, session.encode())]}
        await self._app(scope, receive, _Worded(send))


def session_of(body: bytes | None) -> str | None:
    """What all requests of one conversation have in common: its messages up to the first of the user."""
    try:
        messages = from_json(body or b"")["messages"]
        first = next(place for place, message in enumerate(messages) if message["role"] == "user")
    except (ValueError, TypeError, KeyError, StopIteration):
        return None
    return hashlib.sha256(to_json(messages[: first + 1])).hexdigest()[:32]


async def _read(receive: Receive) -> tuple[Receive, bytes | None]:
    """The body, and what gives it once more; None for one that is too large to be looked at."""
    messages: list[Message] = []
    size, more = 0, True
    while more and size <= MAX_BODY:
        messages.append(message := await receive())
        size += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    again = iter([*messages])

    async def replay() -> Message:
        return next(again, None) or await receive()

    whole = None if more else b"".join(message.get("body", b"") for message in messages)
    return replay, whole


class _Worded:
    """Passes an answer on; one of Serve's own that is an error, in the words of the API."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            error = _stand_in(message)
            if error is not None:
                self._replaced = True
                response = error.response()
                response.headers["retry-after"] = Headers(raw=message["headers"]).get("retry-after", str(_RETRY_AFTER))
                await self._send({**message, "status": response.status_code, "headers": response.raw_headers})
                await self._send({"type": "http.response.body", "body": response.body})
                return
        if not self._replaced:
            await self._send(message)


def _stand_in(start: Message) -> WireError | None:
    """What stands for an answer that did not come from our application."""
    status: int = start["status"]
    if any(name.lower() == _OURS for name, _ in start["headers"]):
        return None
    if status == 429:
        return errors.full(_RETRY_AFTER)
    return errors.closing() if status >= 500 else None
