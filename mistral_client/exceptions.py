"""Every error that a public method raises, in one tree.

    MistralException
    ├── ConfigurationError (also ValueError)
    ├── ArgumentError (also ValueError)
    ├── MistralAPIException
    │   ├── AuthenticationError
    │   ├── PermissionDeniedError
    │   ├── NotFoundError
    │   ├── InvalidRequestError
    │   ├── ProtocolError
    │   └── MistralAPIStatusException
    │       ├── RateLimitError
    │       └── ServerError
    └── MistralConnectionException
        ├── RequestTimeout (also TimeoutError)
        ├── StreamInterrupted
        │   └── StreamTimeout (also RequestTimeout)
        └── LocalModelError

`MistralException`, `MistralAPIException`, `MistralAPIStatusException` and `MistralConnectionException` mean what they
meant in the early client: something failed; the server answered, but with an error; with an error that is worth a
retry; the server was not reached.

Errors hold plain values and no live request or response, so they pickle and keep no secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from .models.embeddings import EmbeddingResponse


class MistralException(Exception):
    """Base of all errors here. What does not apply to an error is None.

    message: what went wrong, for a person.
    http_status, headers, body: of the server's answer; of the body at most the first 500 characters.
    code, type: the server's own words for the kind of error, such as "1500" and "invalid_model".
    request_id: names the request towards the server's operator.
    retry_after: seconds that the server asked to be left alone.
    host: the server's name and port.
    attempts, elapsed: requests sent for this call, and seconds spent on it.
    retryable: whether the same call may well succeed a moment later.
    text, finish_reason, usage: what a stream had given when it failed: the text of its first choice, exactly, and the
        other two if they came; usage as a dict of the wire's names.
    batch, embeddings: of `embed_all`: the places of the texts whose request failed, as a range, and an
        `EmbeddingResponse` of the vectors that had arrived, each with the place of its text.
    """

    retryable: bool = False
    text: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    batch: range | None = None
    embeddings: EmbeddingResponse | None = None

    def __init__(
        self,
        message: str | None = None,
        http_status: int | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        body: str | None = None,
        code: str | None = None,
        type: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.http_status = http_status
        self.headers = None if headers is None else dict(headers)
        self.body = body
        self.code = code
        self.type = type
        self.request_id = request_id
        self.retry_after = retry_after
        self.host: str | None = None
        self.attempts: int | None = None
        self.elapsed: float | None = None

    @property
    def status(self) -> int | None:
        """The same as `http_status`, the early client's name."""
        return self.http_status

    def with_answer(self, text: str, finish_reason: str | None, usage: dict[str, Any] | None) -> Self:
        """The same error, with what was received of the answer."""
        self.text, self.finish_reason, self.usage = text, finish_reason, usage
        return self

    def hide(self, masked: Callable[[str], str]) -> None:
        """Mask what the server has said; not `text`, which is an answer."""
        for name, value in vars(self).items():
            if isinstance(value, str) and name != "text":
                setattr(self, name, masked(value))
        if self.headers is not None:
            self.headers = {name: masked(value) for name, value in self.headers.items()}
        self.args = (self.message,)

    def __str__(self) -> str:
        about = [
            f"{name} {value}"
            for name, value in (
                ("HTTP", self.http_status),
                ("type", self.type),
                ("code", self.code),
                ("request id", self.request_id),
                ("attempts", self.attempts),
                ("texts", self.batch and f"{self.batch[0]} to {self.batch[-1]}"),
            )
            if value is not None
        ]
        return f"{self.message} ({', '.join(about)})" if about else f"{self.message}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call __init__ with `args` alone; rebuilding from the attributes keeps all of them.
        return _rebuild, (type(self), self.args), self.__dict__


def masked(text: str, secret: str) -> str:
    """The text with `***` in the place of the secret, or of as much of its beginning as a cut has left."""
    head, *rests = text.split(secret[:_TELLING])
    tail = secret[_TELLING:]
    return head + "".join("***" + rest[_alike(rest, tail) :] for rest in rests)


def _alike(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


_TELLING = 8  # characters; fewer of a secret say little, and are found in other words


def _rebuild(kind: type[MistralException], args: tuple[Any, ...]) -> MistralException:
    error = kind.__new__(kind)
    error.args = args
    return error


class ConfigurationError(MistralException, ValueError):
    """A client cannot be built like this: no key, a key with a newline, an endpoint that is no URL."""


class ArgumentError(MistralException, ValueError):
    """An argument of a call is wrong. Nothing was sent; the message names the argument."""


class MistralAPIException(MistralException):
    """The server answered, but not with what was asked for."""


class AuthenticationError(MistralAPIException):
    """401: the key is missing or wrong."""


class PermissionDeniedError(MistralAPIException):
    """403: the key is right but may not do this."""


class NotFoundError(MistralAPIException):
    """404: no such model or path."""


class InvalidRequestError(MistralAPIException):
    """Any other 4xx, 400 and 422 above all: the server does not accept the request."""


class ProtocolError(MistralAPIException):
    """An answer that is not what the API promises: not JSON, not an event stream, a field missing, a redirect."""


class MistralAPIStatusException(MistralAPIException):
    """An error status that may pass: 408, 409, 425, 429 or 5xx. Raised when retries are used up or ruled out."""

    retryable = True


class RateLimitError(MistralAPIStatusException):
    """429: too many requests, or the server is full. `retry_after` says for how long, if the server did."""


class ServerError(MistralAPIStatusException):
    """5xx: the server failed."""


class MistralConnectionException(MistralException):
    """The server was not reached, or the connection broke before the answer was whole."""

    retryable = True


class RequestTimeout(MistralConnectionException, TimeoutError):
    """The server took longer than `timeout`, or than what was left of `deadline`."""


class StreamInterrupted(MistralConnectionException):
    """An event stream ended before it was whole, by its finish reasons and `[DONE]`. `text` is what it had said.

    Before the answer began it is retryable.
    """

    retryable = False  # what was handed out cannot be taken back


class StreamTimeout(StreamInterrupted, RequestTimeout):
    """An event stream fell silent. Comments, which keep a connection open, say nothing."""


class LocalModelError(MistralConnectionException):
    """The local server could not start: no weights, a broken file, too little memory or disk."""

    retryable = False
