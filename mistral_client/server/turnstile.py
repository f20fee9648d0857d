"""What a full server would refuse is refused before its body is read."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import WireError
from .guard import Guard, turn_away

Crowded = Callable[[str], WireError | None]
"""The refusal for a client, by the name of its key; None while there is a place for it."""

_SMALL = 64 * 2**10
"""Bytes of a body that its client may go on sending, for its connection to be used again."""


class Turnstile:
    """Middleware that refuses a request for the model when there is no place for it."""

    def __init__(self, app: ASGIApp, crowded: Crowded) -> None:
        self._app = app
        self._crowded = crowded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = None
        if scope["type"] == "http" and _takes_a_place(scope["method"], scope["path"], headers := Headers(scope=scope)):
            refused = self._crowded(scope.get("state", {}).get("client_key", ""))
        if refused is None:
            await self._app(scope, receive, send)
        elif _length(headers) <= _SMALL:
            await refused.response()(scope, receive, send)
        else:
            await turn_away(refused.response(), receive, send)


def early_refusal(guard: Guard, crowded: Crowded, method: str, path: str, headers: Headers) -> WireError | None:
    """The refusal of a request that would come as far as the turnstile and no further; None for any other.

    For a server that is told so before the application runs: in a rush that is most of a refusal's cost.
    """
    if not _takes_a_place(method, path, headers) or "origin" in headers or guard.stranger(headers) is not None:
        return None
    owner = guard.owner(path, headers)
    return None if owner is None else crowded(owner)


def _takes_a_place(method: str, path: str, headers: Headers) -> bool:
    # Under a key of its own its answer may be there already.
    return method == "POST" and path.startswith("/v1/") and "idempotency-key" not in headers


def _length(headers: Headers) -> float:
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else float("inf")
