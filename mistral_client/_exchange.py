"""The life of one call, without I/O.

`exchange` is a generator in the manner of `httpx.Auth.auth_flow`: it yields the next thing to do, a request to send
or a `Wait`, and is sent what came of it. A client only performs; every decision is taken here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from ._calls import AnswerT, Call, Request, validation_message
from ._error_body import api_error, is_error_body, request_id
from ._retry import RetryPolicy
from .exceptions import MistralAPIException, MistralException, ProtocolError


class Response(Protocol):
    """What the exchange looks at in an HTTP response; `content` only after the body was read."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...


ResponseT = TypeVar("ResponseT", bound=Response)


@dataclass(frozen=True, slots=True)
class Received:
    """A response that was read to its end, or as far as anybody wants to see of it."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Let so many seconds pass."""

    seconds: float


Step = Request | Wait


def exchange(
    call: Call[AnswerT], policy: RetryPolicy, clock: Callable[[], float], random: Callable[[], float]
) -> Generator[Step, ResponseT | MistralException | None, ResponseT]:
    """Yields steps until a response is what the call asked for; that response is the generator's value.

    For a request it is sent the response, or the exception that stands for a failure to get one; for a `Wait`, None.
    clock: seconds, monotonic. random: evenly from 0 to 1.
    """
    if call.max_retries is not None:
        policy = replace(policy, max_retries=call.max_retries)
    request = call.request(idempotency_key=f"{int(random() * 2**53):014x}{int(random() * 2**53):014x}")
    started = clock()
    attempt = 0
    while True:
        outcome = yield request
        if outcome is None:
            raise TypeError("a request comes to a response or an exception")
        error = outcome if isinstance(outcome, MistralException) else _judge(call, outcome)
        if error is None:
            return outcome  # type: ignore[return-value]  # not an exception, or error would be one
        delay = policy.delay(attempt, error, random())
        attempt += 1
        if delay is None:
            error.attempts = attempt
            error.elapsed = clock() - started
            raise error
        yield Wait(delay)


def opens_stream(call: Call[AnswerT], response: Response) -> bool:
    """Whether the body is the event stream that was asked for, to be read as it comes and not at once."""
    return call.streamed and response.status_code == 200 and _media_type(response) == "text/event-stream"


def answer(call: Call[AnswerT], response: Response) -> AnswerT:
    """The typed answer in a response that was read. Raises `ProtocolError` naming the field that is wrong."""
    try:
        return call.answer.model_validate_json(response.content)
    except ValidationError as error:
        if is_error_body(json_or_none(response.content)):
            raise api_error(response.status_code, response.headers, response.content) from None
        raise unexpected(response, validation_message(error)) from None


def json_or_none(content: bytes | str) -> object:
    """The JSON value, or None for what is none."""
    try:
        return from_json(content)
    except ValueError:
        return None


def unexpected(response: Response, what: str) -> ProtocolError:
    """The error for a response that is not what the API promises."""
    return ProtocolError(what, response.status_code, response.headers, request_id=request_id(response.headers))


def _judge(call: Call[AnswerT], response: Response) -> MistralAPIException | None:
    if not 200 <= response.status_code < 300:
        return api_error(response.status_code, response.headers, response.content)
    media_type = _media_type(response)
    if opens_stream(call, response) or (not call.streamed and media_type.endswith(("/json", "+json"))):
        return None
    if is_error_body(json_or_none(response.content)):
        return api_error(response.status_code, response.headers, response.content)
    wanted = "text/event-stream" if call.streamed else "application/json"
    shown = " ".join(response.content[:800].decode("utf-8", "replace").split())[:200]
    return unexpected(
        response,
        f"expected {wanted}, got {media_type or 'no content type'}: {shown!r} (does the endpoint point at the API?)",
    )


def _media_type(response: Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()
