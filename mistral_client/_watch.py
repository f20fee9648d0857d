"""What the hooks of a call are told, gathered as it goes on, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from ._calls import AnswerT, Call, Request
from ._config import Config
from ._headers import flaw, merged, secrets
from .exceptions import ArgumentError, MistralException
from .hooks import AttemptInfo, CallInfo, Hooks, RequestInfo


class _Response(Protocol):
    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell these hooks of something, by the method of this name."""

    hooks: tuple[Hooks, ...]
    moment: Literal["before_request", "after_attempt", "after_call"]
    what: RequestInfo | AttemptInfo | CallInfo


class Watch:
    """The hooks of one call.

    clock: seconds. masked: takes the key out of a text.
    """

    def __init__(
        self, call: Call[Any], config: Config, clock: Callable[[], float], masked: Callable[[str], str]
    ) -> None:
        address = "local" if config.local_model is not None else config.base_url
        self.call = CallInfo(call.method, call.path, address + call.path, call.body, call.streamed)
        self.hooks = config.hooks
        self._clock = clock
        self._began = self._sent = clock()
        self._masked = masked

    def before(self, request: Request) -> Tell:
        """A request is ready to be sent."""
        call = self._now()
        call.attempts += 1
        hidden = secrets(request.headers)
        shown = {name: value for name, value in request.headers.items() if name not in hidden}
        self._request = RequestInfo(call, call.attempts, call.method, call.url, shown)
        return Tell(self.hooks, "before_request", self._request)

    def changed(self, request: Request) -> Request:
        """The request with the headers that the hooks have left. Raises `ArgumentError` for what cannot be sent."""
        headers = self._request.headers
        wrong = flaw(headers)
        if wrong is not None:
            raise ArgumentError(f"before_request: {wrong}")
        self._sent = self._clock()
        return replace(request, headers=merged(secrets(request.headers), headers))

    def after(self, outcome: _Response | MistralException, error: MistralException | None) -> Tell:
        """A request has come to a response or a failure, and that to an error or not."""
        call = self._now()
        status = outcome.http_status if isinstance(outcome, MistralException) else outcome.status_code
        headers = {name: self._masked(value) for name, value in (outcome.headers or {}).items()}
        seconds = self._clock() - self._sent
        return Tell(self.hooks, "after_attempt", AttemptInfo(call, call.attempts, seconds, status, headers, error))

    def chunks(self, feed: Callable[[bytes], Iterator[AnswerT]]) -> Callable[[bytes], Iterator[AnswerT]]:
        """A decoder's `feed` whose chunks are noted as they are taken; of a new attempt, which begins anew."""
        call = self.call
        call.first_chunk = call.usage = None
        call.finish_reasons = ()
        reasons: dict[int, str] = {}

        def noted(data: bytes) -> Iterator[AnswerT]:
            for chunk in feed(data):
                if call.first_chunk is None:
                    call.first_chunk = self._now().seconds
                self._note(chunk, reasons)
                yield chunk

        return noted

    def ended(self, error: BaseException | None = None, answer: BaseModel | None = None) -> Tell:
        """The call is over. The first time is what counts: afterwards there is nobody to tell."""
        call = self._now()
        if answer is not None:
            call.answer = answer
            self._note(answer, {})
        if error is not None:
            call.error = error
        hooks, self.hooks = self.hooks, ()
        return Tell(hooks, "after_call", call)

    def _now(self) -> CallInfo:
        self.call.seconds = self._clock() - self._began
        return self.call

    def _note(self, answer: Any, reasons: dict[int, str]) -> None:
        """What an answer, or a chunk of one, says of itself; a list of models says nothing."""
        call = self.call
        call.id = getattr(answer, "id", None)
        call.model = getattr(answer, "model", None)
        call.usage = getattr(answer, "usage", None) or call.usage
        for choice in getattr(answer, "choices", ()):
            if choice.finish_reason is not None:
                reasons[choice.index] = str(choice.finish_reason)
                call.finish_reasons = tuple(reasons[index] for index in sorted(reasons))
