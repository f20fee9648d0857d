"""An answer before it goes out: what every kind of reply makes, and what faults are done to. Performs no I/O."""

from __future__ import annotations

import json
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from mistral_client._sse import encode_event

DONE = "[DONE]"
JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"


class Break(Enum):
    """How a connection ends that does not end well: closed, or reset."""

    cut = "cut"
    reset = "reset"


class Event(NamedTuple):
    """A server-sent event. `data` is JSON, or text that is none."""

    data: Any
    type: str = ""

    @property
    def text(self) -> str:
        """The data as it is sent."""
        return self.data if isinstance(self.data, str) else written(self.data)

    def encode(self) -> bytes:
        """The event on the wire."""
        return encode_event(self.text, self.type)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `body` is whole, or a stream of events."""

    body: bytes | Generator[Event]
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a response."""

    status: int
    headers: list[tuple[str, str]]


Step = Head | bytes | float | Break
"""What a server does next: begin a response, send some of its body, let seconds pass, break the connection."""

Steps = Generator[Step]


class UnanswerableError(Exception):
    """There is no answer to a request, and the test must hear of it."""


def head(answer: Answer, length: int | None = None) -> Head:
    """The head of an answer; length: of its body, None where it has no end yet."""
    named = [("content-type", answer.content_type), ("mistral-correlation-id", str(uuid.uuid4()))]
    measured = [] if length is None else [("content-length", str(length))]
    return Head(answer.status, [*named, *measured, *answer.headers.items()])


def choices(event: Event) -> list[dict[str, Any]]:
    """What a chunk says of each answer; nothing where an event is no chunk."""
    said = event.data.get("choices") if isinstance(event.data, dict) else None
    return [choice for choice in said if isinstance(choice, dict)] if isinstance(said, list) else []


def deltas(event: Event) -> list[dict[str, Any]]:
    """What a chunk adds to each answer."""
    return [choice["delta"] for choice in choices(event) if isinstance(choice.get("delta"), dict)]


def written(value: Any) -> str:
    """JSON for people to read, as far as it can be sent: half of a surrogate pair has no UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text
