"""The life of one call, without I/O.

`exchange` is a generator in the manner of `httpx.Auth.auth_flow`: it yields the next thing to do, a request to send
or a `Wait`, and is sent what came of it. A client only performs; every decision is taken here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_core import from_json

from ._calls import AnswerT, Call, Request, validation_message
from ._config import Config
from ._error_body import api_error, is_error_body, request_id
from ._headers import secrets
from ._limiter import RateLimiter
from ._retry import RetryBudget, RetryPolicy
from ._watch import Tell, Watch
from .exceptions import MistralException, ProtocolError, RequestTimeout, masked
from .models.common import Answer

ErrorT = TypeVar("ErrorT", bound=MistralException)
Read = Callable[[bytes | str], AnswerT]


class Response(Protocol):
    """What the exchange looks at in an HTTP response; `content` only after the body was read."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Received:
    """A response that was read to its end, or as far as anybody wants to see of it."""

    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wait:
    """Let so many seconds pass."""

    seconds: float


Step = Request | Wait | Tell


class Effort:
    """What a call has taken so far: requests, and seconds of the clock since it began.

    clock: seconds, monotonic. until: when the call must be over, on that clock.
    used: the limiter's, where there is one, to be told of the tokens that a request took.
    watch: None where there are no hooks.
    """

    def __init__(self, config: Config, call: Call[Any], clock: Callable[[], float]) -> None:
        self.attempts = 0
        self.used: Callable[[int], object] | None = None
        self._began = clock()
        deadline = config.deadline if call.deadline is None else call.deadline
        self.until = math.inf if deadline is None else self._began + deadline
        self._config = config
        self._clock = clock
        self.extra_headers = config.extra_headers
        self._secrets = [] if config.api_key is None else [config.api_key]
        self.learn_secrets(call.headers)
        self.learn_secrets(config.extra_headers)
        self.watch = Watch(call, config, clock, self.masked) if config.hooks else None

    def now(self) -> float:
        """On that clock."""
        return self._clock()

    def left(self, within: float = math.inf) -> float:
        """Seconds until then, or until so many since the call began."""
        return min(self.until, self._began + within) - self._clock()

    def settle(self, outcome: object) -> None:
        """Tell the limiter what the last request took: an answer with `usage`, or an error, tells it."""
        if self.used is None:
            return
        if isinstance(outcome, MistralException):
            if (outcome.http_status or 0) >= 400:
                self.used(0)
        elif (usage := getattr(outcome, "usage", None)) is not None:
            self.used(usage.total_tokens)

    def written_on(self, error: ErrorT) -> ErrorT:
        """The same error, with what it took to get there, and without the key: some servers send it back."""
        error.host = self._config.host
        error.attempts = self.attempts
        error.elapsed = self._clock() - self._began
        error.hide(self.masked)
        # The frames so far hold what came, and have no more to tell than the error.
        return error.with_traceback(None)

    def learn_secrets(self, headers: Mapping[str, str]) -> None:
        """What these headers hold of secrets is masked from now on, as the key is."""
        for value in secrets(headers).values():
            secret = SecretStr(value.rpartition(" ")[2])
            if secret.get_secret_value() and secret not in self._secrets:
                self._secrets.insert(0, secret)

    def masked(self, text: str) -> str:
        """The text without the key."""
        for secret in self._secrets:
            text = masked(text, secret.get_secret_value())
        return text


def exchange(
    call: Call[AnswerT],
    policy: RetryPolicy,
    budget: RetryBudget,
    effort: Effort,
    random: Callable[[], float],
    limiter: RateLimiter | None = None,
) -> Generator[Step, Response | MistralException | None, AnswerT | None]:
    """Yields steps until a response is what the call asked for; the answer in it is the generator's value.

    For a request it is sent the response, or the exception that stands for a failure to get one; for a `Wait`, None.
    An answer that is streamed is None here: its reader has it.
    Where there are hooks, it also yields whom to `Tell` of what, and is sent None for it.
    random: evenly from 0 to 1.
    """
    if call.max_retries is not None:
        wanted = call.max_retries
        policy = wanted if isinstance(wanted, RetryPolicy) else replace(policy, max_retries=wanted)
    key = f"{int(random() * 2**53):014x}{int(random() * 2**53):014x}"
    request = call.request(key, effort.until, effort.extra_headers)
    watch = effort.watch
    failure: MistralException | None = None
    while True:
        if limiter is not None:
            effort.used = yield from _turn(limiter, call, effort, failure)
        effort.attempts += 1
        if watch is None:
            outcome = yield request
        else:
            yield watch.before(request)
            changed = watch.changed(request)
            effort.learn_secrets(changed.headers)
            outcome = yield changed
        if outcome is None:
            raise TypeError("a request comes to a response or an exception")
        try:
            answer = _judged(call, outcome)
        except MistralException as error:
            failure = error
            effort.settle(error)
        else:
            budget.earn()
            effort.settle(answer)
            if watch is not None:
                yield watch.after(outcome, None)
                if answer is not None:
                    yield watch.ended(None, answer)
            return answer
        if watch is not None:
            yield watch.after(outcome, effort.written_on(failure))
        delay = policy.delay(effort.attempts - 1, failure, effort.left(policy.within), random())
        # A server that says when to come back is not down: coming back then is free.
        if delay is None or not (failure.retry_after or budget.spend()):
            raise effort.written_on(failure)
        yield Wait(delay)


def _turn(
    limiter: RateLimiter, call: Call[AnswerT], effort: Effort, failure: MistralException | None
) -> Generator[Wait, object, Callable[[int], object]]:
    """Waits for a place in the limiter, if the call has the time; gives what is to be told of the tokens it took.

    failure: of the request before, which stands where there is no time for another.
    """
    now = effort.now()
    place = limiter.reserve(call, now)
    wait = place.at - now
    try:
        if wait >= effort.left():
            late = RequestTimeout(f"the rate limiter has a place in {wait:.1f} seconds, and the call has less")
            raise effort.written_on(failure or late)
        if wait > 0:
            yield Wait(wait)
    except BaseException:
        limiter.give_back(place)
        raise
    return partial(limiter.settle, place)


def opens_stream(call: Call[AnswerT], response: Response) -> bool:
    """Whether the body is the event stream that was asked for, to be read as it comes and not at once."""
    return call.streamed and response.status_code == 200 and _media_type(response) == "text/event-stream"


def reader_of(kind: type[AnswerT]) -> Read[AnswerT]:
    """What `model_validate_json` calls; of a chunk's time its wrapping takes a tenth."""
    read: Read[AnswerT] = kind.__pydantic_validator__.validate_json
    return read


def decoded(read: Read[AnswerT], data: bytes | str, response: Response, status: int, otherwise: str) -> AnswerT:
    """JSON as a typed answer, or as a chunk of one.

    read: as `reader_of` gives it. otherwise: what to call the JSON when it is none.
    Raises the server's error, as if with this status, where the JSON is one; else `ProtocolError` naming the field that
    is wrong.
    """
    try:
        answer = read(data)
        # Single letters are found in a sixth of the time of words, and most chunks of a stream have neither.
        if isinstance(data, bytes) or "N" in data or "I" in data:
            _check_numbers(data)
    except ValidationError as error:
        wrong = validation_message(error)
    except ValueError as error:
        wrong = str(error)
    else:
        return answer
    raise server_error(data, response, status) or unexpected(response, f"{otherwise}: {wrong}")


def server_error(data: bytes | str, response: Response, status: int) -> MistralException | None:
    """The error that a server tells of under a status that says nothing of it; None where it does not."""
    try:
        body = from_json(data)
    except ValueError:
        return None
    content = data if isinstance(data, bytes) else data.encode()
    return api_error(status, response.headers, content) if is_error_body(body) else None


def unexpected(response: Response, what: str) -> ProtocolError:
    """The error for a response that is not what the API promises."""
    return ProtocolError(what, response.status_code, response.headers, request_id=request_id(response.headers))


def _judged(call: Call[AnswerT], outcome: Response | MistralException) -> AnswerT | None:
    if isinstance(outcome, MistralException):
        raise outcome
    if opens_stream(call, outcome):
        return None
    status, content = outcome.status_code, outcome.content
    if not 200 <= status < 300:
        raise api_error(status, outcome.headers, content)
    media_type = _media_type(outcome)
    if not call.streamed and media_type.endswith(("/json", "+json")):
        answer = decoded(reader_of(call.answer), content, outcome, status, "an answer that is none")
        if isinstance(answer, Answer):
            answer.came_with(outcome.headers)
        return answer
    wanted = "text/event-stream" if call.streamed else "application/json"
    shown = " ".join(content[:800].decode("utf-8", "replace").split())[:200]
    raise server_error(content, outcome, status) or unexpected(
        outcome,
        f"expected {wanted}, got {media_type or 'no content type'}: {shown!r} (does the endpoint point at the API?)",
    )


def _media_type(response: Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_numbers(data: bytes | str) -> None:
    """Raises `ValueError` for the numbers that Python's parsers know and JSON does not."""
    names = (b"NaN", b"Infinity") if isinstance(data, bytes) else ("NaN", "Infinity")
    if names[0] in data or names[1] in data:  # type: ignore[operator]  # both are of one kind
        json.loads(data, parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
