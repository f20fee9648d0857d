"""The same request again, under the same Idempotency-Key: it joins or replays the answer and never generates twice."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import errors
from .connection import PATIENCE, while_connected

ANSWERS = 1000
BYTES = 16 * 2**20
SECONDS = 600.0
"""How many finished answers are kept, of what size together, and for how long."""


class Idempotency:
    """Middleware that generates one answer for all requests of one client with the same key.

    The answer is generated for as long as any of them is there. An answer that failed (5xx, 429, a stream that broke)
    or that nobody stayed for is not kept: the next request runs anew.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        answers: int = ANSWERS,
        size: int = BYTES,
        seconds: float = SECONDS,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._answers = answers
        self._size = size
        self._seconds = seconds
        self._patience = patience
        self._clock = clock
        self._running: dict[bytes, _Recording] = {}
        self._finished: OrderedDict[bytes, tuple[float, _Recording]] = OrderedDict()
        self._kept = 0
        """Bytes of the answers that are kept."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _idempotency_key(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        body = await _whole_body(receive)
        if body is None:
            return
        digest = hashlib.sha256(body).digest()
        told = False

        async def tell(message: Message) -> None:
            nonlocal told
            told = True
            await send(message)

        while not told:
            recording = self._recorded(key)
            if recording is None:
                recording = self._running[key] = _Recording(digest, body)
                await self._record(key, recording, scope, receive, send)
                return
            if recording.digest != digest:
                await _other_body()(scope, receive, send)
                return
            await self._listen(recording, receive, tell, replayed=True)
            if not recording.broken:  # else whoever ran it was cut off: it runs anew, unless this client knows its part
                return

    def _recorded(self, key: bytes) -> _Recording | None:
        """What this key stands for, if it can be joined or replayed."""
        self._expire()
        if (running := self._running.get(key)) is not None:
            return running if running.worth_joining else None
        return self._finished[key][1] if key in self._finished else None

    async def _record(self, key: bytes, recording: _Recording, scope: Scope, receive: Receive, send: Send) -> None:
        raised: Exception | None = None
        try:
            async with anyio.create_task_group() as tasks:
                # Counted here: the application may look for its listeners before the first has begun.
                recording.listeners += 1
                tasks.start_soon(self._first, recording, receive, send)
                try:
                    await self._app(scope, recording.receive, recording.send)
                except Exception as error:  # noqa: BLE001, raised again below: here it would come out in a group
                    raised = error
                finally:
                    recording.end()
        finally:
            if self._running.get(key) is recording:
                del self._running[key]
                if raised is None and recording.good:
                    self._keep(key, recording)
        if raised is not None:
            raise raised

    async def _first(self, recording: _Recording, receive: Receive, send: Send) -> None:
        await self._listen(recording, receive, send, replayed=False)
        recording.leave()

    async def _listen(self, recording: _Recording, receive: Receive, send: Send, *, replayed: bool) -> None:
        """Pass the answer on, as far as it has come and then as it comes, while the client is there and reads."""

        async def tell() -> None:
            async for message in recording.messages():
                if replayed and message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], (b"idempotent-replayed", b"true")]}  # noqa: PLW2901
                with anyio.fail_after(self._patience):
                    await send(message)

        recording.listeners += replayed
        try:
            with suppress(TimeoutError):  # a client that does not read has left
                await while_connected(receive, tell)
        finally:
            if replayed:
                recording.leave()

    def _keep(self, key: bytes, recording: _Recording) -> None:
        recording.settle()
        self._finished[key] = (self._clock() + self._seconds, recording)
        self._kept += recording.size
        while self._finished and (len(self._finished) > self._answers or self._kept > self._size):
            self._drop()

    def _expire(self) -> None:
        while self._finished and next(iter(self._finished.values()))[0] <= self._clock():
            self._drop()

    def _drop(self) -> None:
        _, (_, recording) = self._finished.popitem(last=False)
        self._kept -= recording.size


class _Recording:
    """What the application answers to one request, while it does and afterwards."""

    def __init__(self, digest: bytes, body: bytes) -> None:
        self.digest = digest
        self.left = anyio.Event()
        """Nobody listens any more."""
        self.listeners = 0
        self.size = 0
        self.broken = False
        """Ended without a whole answer."""
        self._body: bytes | None = body
        self._messages: list[Message] = []
        self._ended = False
        self._news = anyio.Event()

    @property
    def worth_joining(self) -> bool:
        """On its way to an answer, or there."""
        return self.good if self._ended else not self.left.is_set()

    @property
    def good(self) -> bool:
        """Worth to be told again."""
        if self.broken or self.left.is_set():
            return False
        start = self._messages[0]
        if start["status"] >= 500 or start["status"] in {408, 429, 499}:
            return False
        if not any(name == b"content-type" and b"event-stream" in value for name, value in start["headers"]):
            return True
        return b"".join(message.get("body", b"") for message in self._messages[-3:]).endswith(b"data: [DONE]\n\n")

    async def receive(self) -> Message:
        """The request as the application sees it: its client is there for as long as anybody listens."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take what the application answers. A client that reads slowly does not hold the application up."""
        self._messages.append(message)
        self.size += len(message.get("body", b""))
        # Here and not when the application returns: by then a client that has it all may have left.
        self._ended = message["type"] == "http.response.body" and not message.get("more_body")
        self._tell()

    async def messages(self) -> AsyncIterator[Message]:
        """All messages from the first on, those to come as they come."""
        position, messages = 0, self._messages
        while True:
            while position < len(messages):
                yield messages[position]
                position += 1
            if self._ended:
                return
            await self._news.wait()

    def end(self) -> None:
        """The application has answered, or will not any more."""
        self.broken = not self._ended
        self._ended = True
        self._tell()

    def leave(self) -> None:
        """One listener less. The last one takes the generation with it; an answer that is complete stays."""
        self.listeners -= 1
        if not self.listeners and not self._ended:
            self.left.set()

    def settle(self) -> None:
        """Keep the answer only, and in one piece: a stream's many would take several times their size."""
        self._body = None
        body = b"".join(message.get("body", b"") for message in self._messages)
        self._messages = [self._messages[0], {"type": "http.response.body", "body": body}]

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


def _idempotency_key(scope: Scope) -> bytes | None:
    """What tells this request from others: the client, the path and the key; None for one without a key."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    given = next((value for name, value in scope["headers"] if name == b"idempotency-key"), b"")
    if not given:
        return None
    client = scope.get("state", {}).get("client_key", "")
    return hashlib.sha256(b"\0".join((client.encode(), scope["path"].encode(), given))).digest()


async def _whole_body(receive: Receive) -> bytes | None:
    """None if the client leaves before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _other_body() -> ASGIApp:
    issue = {
        "type": "idempotency_key_reused",
        "loc": ("header", "Idempotency-Key"),
        "msg": "This key was used for a request with another body",
    }
    return errors.validation([issue])
