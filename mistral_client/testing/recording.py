"""Conversations in a file, one line of JSON for each request, response and event; read by people, and by diff.

No header of a request is in it, and of a response only those that say something about the answer. Keys are `***`.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Self

from mistral_client.exceptions import ConfigurationError

from .answer import Answer, Event, UnanswerableError, choices, deltas, written
from .request import Request

_TELLING = 8
"""Characters that a request's key must have to be looked for in a text. Shorter ones are words that tests make up."""


@dataclass(slots=True)
class Exchange:
    """A request and its answer, as JSON. `events` is None where the answer was no stream."""

    request: dict[str, Any]
    response: dict[str, Any]
    events: list[Event] | None = None
    whole: bool = False
    given: bool = False

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it is in the file. What all chunks of a stream have in common is written once, with the response."""
        yield {"request": self.request}
        frames = [_frame(event.data) for event in self.events or () if choices(event)]
        frame = frames[0] if frames and all(each == frames[0] for each in frames) else {}
        yield {"response": {**self.response, "chunk": frame} if frame else self.response}
        for event in self.events or ():
            data = event.data
            if choices(event):
                data = {name: value for name, value in data.items() if name not in frame}
            yield {"event": data, "type": event.type} if event.type else {"event": data}

    def answer(self) -> Answer:
        """The answer once more."""
        headers = dict(self.response["headers"])
        kind = headers.pop("content-type", "")
        if self.events is not None:
            return Answer((event for event in self.events), self.response["status"], kind, headers)
        body = self.response.get("body")
        content = b"" if body is None else (body if isinstance(body, str) else written(body)).encode()
        return Answer(content, self.response["status"], kind, headers)


class Recording:
    """Exchanges in the order in which they were asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._exchanges: list[Exchange] = []
        self._lock = Lock()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The recording in a file. Raises `ConfigurationError` where there is no such file, or another one."""
        try:
            lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")  # JSON has U+2028 in its texts
        except OSError as error:
            raise ConfigurationError(
                f"there is no recording {path} ({error.strerror}); make it with pytest --mistral-record"
            ) from None
        recording = cls(path)
        for number, line in enumerate(lines, 1):
            try:
                recording._read(json.loads(line))
            except (ValueError, LookupError, TypeError):
                raise ConfigurationError(f"{path}, line {number}: no line of a recording") from None
        if not all(each.response for each in recording._exchanges):
            raise ConfigurationError(f"{path}: there is a request without a response")
        return recording

    def _read(self, line: dict[str, Any]) -> None:
        if "request" in line:
            self._exchanges.append(Exchange(line["request"], {}))
        elif "response" in line:
            response = self._exchanges[-1].response = line["response"]
            if _is_stream(response["headers"].get("content-type", "")):
                self._exchanges[-1].events = []
            int(response["status"])
        else:
            exchange = self._exchanges[-1]
            if exchange.events is None:
                raise ValueError
            event = Event(line["event"], line.get("type", ""))
            if choices(event):
                event = Event({**exchange.response.get("chunk", {}), **event.data}, event.type)
            exchange.events.append(event)

    def save(self) -> None:
        """Write what was recorded, if anything was: the file is there whole or as it was."""
        lines = [written(line) for each in self._exchanges if each.whole for line in each.lines()]
        if lines:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
            beside.replace(self._path)

    def take(self, request: Request, answer: Answer, secrets: Sequence[str]) -> Answer:
        """The same answer, which is recorded as it passes."""
        hidden = _Hidden([*secrets, *_keys(request)])
        response = {"status": answer.status, "headers": {"content-type": answer.content_type, **answer.headers}}
        exchange = Exchange(hidden.value(_asked(request)), hidden.value(response))
        self._exchanges.append(exchange)
        if not isinstance(answer.body, bytes):
            exchange.events = []
            return Answer(_taken(answer.body, exchange, hidden), answer.status, answer.content_type, answer.headers)
        if answer.body:
            exchange.response["body"] = hidden.value(_json(answer.body))
        exchange.whole = True
        return answer

    def answer(self, request: Request) -> Answer:
        """What was recorded for this request; for the same one again, what came next, and the last answer always.

        Raises `UnanswerableError` for a request that is not there.
        """
        asked = _Hidden(_keys(request)).value(_asked(request))
        with self._lock:
            same = [each for each in self._exchanges if each.request == asked]
            if not same:
                raise UnanswerableError(self._missing(asked))
            exchange = next((each for each in same if not each.given), same[-1])
            exchange.given = True
        return exchange.answer()

    def _missing(self, asked: dict[str, Any]) -> str:
        told = f"{self._path} has no such request; record it anew with pytest --mistral-record"
        alike = [each for each in self._exchanges if each.request["path"] == asked["path"]]
        if not alike:
            return told
        nearest = next((each for each in alike if not each.given), alike[-1])
        old, new = (json.dumps(each, indent=1, ensure_ascii=False).splitlines() for each in (nearest.request, asked))
        return "\n".join([told + ":", *difflib.unified_diff(old, new, "recorded", "asked", n=1, lineterm="")])

    def __str__(self) -> str:
        return str(self._path)


def _taken(events: Generator[Event], exchange: Exchange, hidden: _Hidden) -> Generator[Event]:
    taken: list[Event] = []
    try:
        for event in events:
            taken.append(event)
            yield event
    except GeneratorExit:
        # Who leaves early gets no more, but the recording is whole.
        with suppress(UnanswerableError):
            taken += events
            exchange.events, exchange.whole = hidden.events(taken), True
        raise
    exchange.events, exchange.whole = hidden.events(taken), True


class _Hidden:
    """JSON without secrets."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, "***")
            return value
        if isinstance(value, dict):
            return {self.value(name): self.value(item) for name, item in value.items()}
        return [self.value(item) for item in value] if isinstance(value, list) else value

    def events(self, events: Sequence[Event]) -> list[Event]:
        hidden = [Event(self.value(event.data), event.type) for event in events]
        told = [delta for event in hidden for delta in deltas(event) if isinstance(delta.get("content"), str)]
        text = "".join(delta["content"] for delta in told)
        # A key that came in pieces is in none of them.
        if self.value(text) != text:
            for delta in told:
                delta["content"] = ""
            told[0]["content"] = self.value(text)
        return hidden


def _keys(request: Request) -> list[str]:
    return [key for key in request.secrets if len(key) >= _TELLING]


def _asked(request: Request) -> dict[str, Any]:
    asked = {"method": request.method, "path": request.target}
    return asked if request.body is None else {**asked, "body": request.body}


def _json(content: bytes) -> Any:
    """JSON, or the text that it is not."""
    text = content.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text


def _frame(chunk: dict[str, Any]) -> dict[str, Any]:
    return {name: chunk[name] for name in ("id", "object", "created", "model") if name in chunk}


def _is_stream(content_type: str) -> bool:
    return content_type.startswith("text/event-stream")
