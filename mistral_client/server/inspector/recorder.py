"""Where calls are recorded: around all else, so that what is refused at the door is seen too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistral_client.server.connection import FAILED
from mistral_client.server.errors import WireError

from .call import BODY, ERROR, Call
from .calls import Inspector

PREFIX = "/inspector/"
"""Of the paths of the inspector's own."""

LABEL = "mistral-inspector"
"""Header by which the inspector's page finds the calls again that it makes."""

_NO_CALLS = frozenset({"/", "/docs", "/favicon.ico", "/health", "/metrics", "/openapi.json"})
_SHOWN = 200
"""Characters of a path, or of a client's name for itself."""

_LABEL = re.compile(r"[0-9A-Za-z-]{1,64}")


class Recorder:
    """Middleware that keeps what was asked and what became of it. Nothing waits for it."""

    def __init__(self, app: ASGIApp, inspector: Inspector) -> None:
        self._app = app
        self._inspector = inspector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_call(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        headers = Headers(scope=scope)
        call = _begin(self._inspector, scope["method"], scope["path"], headers, state.get("correlation_id", ""))
        state["call"] = call
        exchange = _Exchange(self._inspector, call, receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            call.status = call.status or 500
            exchange.end("failed")
            raise
        finally:
            exchange.end("cut")


def call_of(request: Request) -> Call | None:
    """The record of this request; None where nobody keeps one."""
    return getattr(request.state, "call", None)


Refusal = Callable[[str, str, Headers], WireError | None]


def recorded(inspector: Inspector, refuse: Refusal) -> Refusal:
    """The same refusals of requests that do not come as far as the recorder, recorded."""

    def refused(method: str, path: str, headers: Headers) -> WireError | None:
        error = refuse(method, path, headers)
        if error is not None:
            call = _begin(inspector, method, path, headers, "")
            call.status, call.error = error.status, error.json().encode()
            if not inspector.folded(call):
                inspector.end(call, "failed")
        return error

    return refused


class _Exchange:
    """Passes on what comes in and goes out, and takes notes."""

    def __init__(self, inspector: Inspector, call: Call, receive: Receive, send: Send) -> None:
        self._inspector = inspector
        self._call = call
        self._receive = receive
        self._send = send
        self._body: list[bytes] = []
        self._came = 0
        self._latest = b""
        self._left = False
        self._failed = False
        self._sent = False
        """The end of the answer is on its way: who leaves now has it all."""
        self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._left = self._left or not self._sent
        elif self._call.status is None:  # what a refused client goes on sending is not kept
            self._take(message.get("body", b""), last=not message.get("more_body", False))
        return message

    def send(self, message: Message) -> Awaitable[None]:
        if self._ended:
            return self._send(message)
        if message["type"] == "http.response.start":
            self._start(message)
            return self._send(message)
        if self._failed:
            self._call.error += message.get("body", b"")[: ERROR - len(self._call.error)]
        if not message.get("more_body", False):
            return self._send_last(message)
        self._latest = message.get("body", b"")
        return self._send(message)  # for each event of a stream, so it is not awaited here

    def end(self, outcome: str) -> None:
        """Nothing more will come; only the first time counts."""
        if not self._ended:
            self._ended = True
            self._inspector.end(self._call, "left" if self._left else outcome)

    async def _send_last(self, message: Message) -> None:
        if message.get(FAILED):  # an event has said what went wrong
            self._failed, self._call.error = True, self._latest[:ERROR]
        self._sent = True
        await self._send(message)
        self.end("failed" if self._failed else "answered")

    def _take(self, body: bytes, *, last: bool) -> None:
        self._came += len(body)
        if self._came <= BODY:
            self._body.append(body)
        if last:
            self._call.body = b"".join(self._body) if self._call.kept and self._came <= BODY else b""
            self._inspector.weigh(self._call)
            self._inspector.changed(self._call)
        if last or self._came > BODY:
            self._body.clear()

    def _start(self, message: Message) -> None:
        self._call.status = message["status"]
        self._call.replayed = any(name == b"idempotent-replayed" for name, _ in message["headers"])
        self._failed = message["status"] >= 400
        self._ended = self._failed and self._inspector.folded(self._call)
        self._inspector.changed(self._call)


def _is_call(method: str, path: str) -> bool:
    return path not in _NO_CALLS and not path.startswith(PREFIX) and method != "OPTIONS"


def _begin(inspector: Inspector, method: str, path: str, headers: Headers, correlation: str) -> Call:
    key, label = headers.get("idempotency-key", ""), headers.get(LABEL, "")
    return inspector.begin(
        method,
        path[:_SHOWN],
        agent=headers.get("user-agent", "")[:_SHOWN],
        attempts=hashlib.sha256(key.encode("latin-1")).hexdigest()[:16] if key else "",
        label=label if _LABEL.fullmatch(label) else "",
        correlation=correlation,
    )
