"""What can look on at the calls of a client, and what it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .exceptions import MistralException
    from .models.common import UsageInfo


@dataclass(slots=True, eq=False)
class CallInfo:
    """One call of a client's method, from its beginning to its end: what is known of it at the moment.

    method, path: of its requests, such as "POST" and "/v1/chat/completions".
    url: the whole address; in local mode it begins with `local`.
    body: the JSON that is sent, with the prompt. None where nothing is.
    streamed: whether the answer comes in chunks.
    attempts, seconds: requests so far, and the time since the call began.
    first_chunk: seconds from the call's beginning to the first chunk of its stream.
    answer: the whole answer; None before it is there, and for streams.
    id, model, usage, finish_reasons: of the answer, as far as it came; one reason for each choice that has ended.
    error: what the call failed with, or what it was cancelled by.
    state: for hooks to keep what one moment has to tell a later one.
    """

    method: str
    path: str
    url: str
    body: bytes | None = field(default=None, repr=False)
    streamed: bool = False
    attempts: int = 0
    seconds: float = 0.0
    first_chunk: float | None = None
    answer: BaseModel | None = field(default=None, repr=False)
    id: str | None = None
    model: str | None = None
    usage: UsageInfo | None = None
    finish_reasons: tuple[str, ...] = ()
    error: BaseException | None = None
    state: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """The body as it is on the wire: model, messages, temperature and all else; empty where there is none."""
        return {} if self.body is None else from_json(self.body)


@dataclass(slots=True, eq=False)
class RequestInfo:
    """A request that is about to be sent.

    number: 1 for the first of a call, then its retries.
    headers: change them, and they are sent so, this time. The key and other secrets are not shown; one that is set here
        is sent in their place.
    """

    call: CallInfo
    number: int
    method: str
    url: str
    headers: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class AttemptInfo:
    """What came of a request.

    seconds: until the answer was there, or, of a stream, until the answer began.
    status, headers: of the response; None and empty where there was none.
    error: None for a success. An error need not be the call's: a retry may follow.
    """

    call: CallInfo
    number: int
    seconds: float
    status: int | None
    headers: Mapping[str, str] = field(repr=False)
    error: MistralException | None


class Hooks:
    """Base of what looks on at calls: override what you need, and give an instance as `MistralClient(hooks=[...])`.

    Hooks are told in the order in which they were given, in the thread or task of the call, which waits for them. With
    an asynchronous client the methods may be coroutines, but for `on_chunk`. Calls that run at the same time are told
    of at the same time: what belongs to one call goes into its `state`.

    An exception in `before_request` ends the call, and is raised from it. One in another method changes nothing about
    the call: it is logged as an error on the logger `mistral_client`, and the other hooks are told.
    """

    def before_request(self, request: RequestInfo) -> Awaitable[None] | None:
        """A request is about to be sent: the first of a call, or a retry. Its headers can be changed."""

    def after_attempt(self, attempt: AttemptInfo) -> Awaitable[None] | None:
        """A request was answered or has failed. A request that is cancelled ends with its call, without this."""

    def on_chunk(self, call: CallInfo, chunk: BaseModel) -> None:
        """A chunk of a stream is about to be handed on.

        A stream that breaks before its answer began is tried again, and its chunks so far may be told of twice.
        """

    def after_call(self, call: CallInfo) -> Awaitable[None] | None:
        """A call has ended: with its answer, with an error, by being cancelled, or, a stream, by being closed.

        It is told of once for each call that was begun. One whose arguments are refused was not.
        """
