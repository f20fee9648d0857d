"""The door: who may come in. What is not allowed here reaches no route."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import WireError
from .keys import Keys

OPEN = "/health"
"""The path that asks for no key."""

MAX_BODY = 8 * 2**20
"""Bytes of a request's body."""

LINGER = 1.0
"""Seconds for which a refused body is still taken in, so that the client comes to read why."""

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names by which programs of this machine call it."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:@/?#\\\[\]]+)(:[0-9]*)?")
_EXPOSED = ("mistral-correlation-id", "retry-after", "x-model-deprecation-timestamp")


@dataclass(frozen=True)
class Guard:
    """Who may come in.

    keys: one of them must be sent, except for `/health`.
    hosts: names, in lower case and without port, by which the server may be called; None for any. Against web pages
    whose own name has been made to lead here.
    origins: web pages' origins that may call from a browser, besides the server's own.
    max_body: bytes of a request's body.
    open: paths that ask for no key, besides `/health`.
    """

    keys: Keys = field(default_factory=Keys)
    hosts: Collection[str] | None = None
    origins: Collection[str] = ()
    max_body: int = MAX_BODY
    open: Collection[str] = ()

    def stranger(self, headers: Headers) -> WireError | None:
        """What is wrong with the names of a request: of the host that it calls, or of the web page that it is from."""
        name = host_name(headers)
        if name is None or (self.hosts is not None and name not in self.hosts):
            return refusal(403, "The server is not called by this host name.")
        for origin in headers.getlist("origin"):
            if origin not in self.origins and not is_own(origin, headers):
                return refusal(403, "Web pages of this origin may not call the server.")
        return None

    def owner(self, path: str, headers: Headers) -> str | None:
        """A name for whose key a request has; empty where none is asked for, None where it is missing or wrong.

        path: the decoded path of the scope. Not that of the URL, which is put together from the header `Host`, too.
        """
        authorizations = headers.getlist("authorization")
        if path == OPEN or path in self.open:
            return ""
        return self.keys.owner(authorizations[0].encode("latin-1") if len(authorizations) == 1 else None)


def refusal(status: int, message: str) -> WireError:
    """What is not let in, as an error of the API."""
    return WireError(status, "invalid_request_error", None, message)


class Door:
    """Middleware that keeps a guard's rules. The name of the key's owner is put in the state as `client_key`."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard
        self._inside: ASGIApp = self._with_key
        if guard.origins:
            self._inside = CORSMiddleware(
                self._with_key,
                allow_origins=guard.origins,
                allow_methods=("GET", "POST", "DELETE"),
                allow_headers=("*",),
                expose_headers=_EXPOSED,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif (error := self._guard.stranger(Headers(scope=scope))) is not None:
            await turn_away(error.response(), receive, send)
        else:
            await self._inside(scope, receive, send)

    async def _with_key(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner = self._guard.owner(scope["path"], Headers(scope=scope))
        if owner is None:
            unauthorized = JSONResponse({"detail": "Unauthorized"}, 401, {"www-authenticate": "Bearer"})
            await turn_away(unauthorized, receive, send)
            return
        scope.setdefault("state", {})["client_key"] = owner
        await self._app(scope, receive, send)


def host_name(headers: Headers) -> str | None:
    """By what name the server is called, in lower case and without port; None where that is no name."""
    parsed = _HOST.fullmatch(headers.get("host", "").lower())
    return None if parsed is None else parsed[1]


def is_own(origin: str, headers: Headers) -> bool:
    """Whether a page comes from the very server that it calls: its own documentation does."""
    scheme, separator, netloc = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and netloc.lower() == headers.get("host", "").lower()


def is_origin(text: str) -> bool:
    """Whether this is an origin as browsers send it, such as `https://example.org`."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and text == f"{parts.scheme}://{parts.netloc}" and "@" not in text


async def turn_away(response: Response, receive: Receive, send: Send) -> None:
    """Answer without having read the body, and close the connection.

    A connection closed while bytes arrive is reset, and the client may lose the answer. So these are taken in for a
    moment after the answer, which is complete by its content length.
    """
    response.headers["connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with anyio.move_on_after(LINGER):
        while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
            pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
