"""Answers of the real thing: passed on, recorded as they pass, or given from a recording."""

from __future__ import annotations

from dataclasses import dataclass

from .answer import Answer
from .recording import Recording
from .request import Request
from .upstream import Upstream


@dataclass(frozen=True)
class Relay:
    """Passes requests on to another server, and records its answers where there is a recording for them."""

    upstream: Upstream
    recording: Recording | None = None

    def answers(self, _request: Request) -> bool:
        return True

    def answer(self, request: Request) -> Answer:
        answer = self.upstream.answer(request)
        return answer if self.recording is None else self.recording.take(request, answer, self.upstream.secrets)

    def __str__(self) -> str:
        return f"relay({self.upstream.endpoint!r})"


@dataclass(frozen=True)
class Replay:
    """Answers from a recording."""

    recording: Recording

    def answers(self, _request: Request) -> bool:
        return True

    def answer(self, request: Request) -> Answer:
        return self.recording.answer(request)

    def __str__(self) -> str:
        return f"replay({str(self.recording)!r})"
