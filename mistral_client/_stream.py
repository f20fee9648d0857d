"""What both kinds of stream have in common, and needs no I/O: what has come of the answer, and what tells of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, NoReturn

import httpx

from ._assembly import Assembly
from ._calls import AnswerT, Call
from ._config import Config
from ._exchange import Effort
from .exceptions import MistralException
from .models.common import UsageInfo
from .models.rate_limit import RateLimit


class Stream(Generic[AnswerT]):
    """Base of `ChatStream` and `AsyncChatStream`."""

    _effort: Effort

    def __init__(self, call: Call[AnswerT], send: Callable[..., Any], config: Config, form: Any = None) -> None:
        self._call = call
        self._send = send
        self._config = config
        self._form = form  # of an answer that is read into a type
        self._response: httpx.Response | None = None
        self._chunks: Iterator[AnswerT] = iter(())  # of what was read together
        self._answer: Assembly | None = None
        self._outcome: Assembly | MistralException | None = None
        self._begun = False
        self._closed = False

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} holds a connection, and is not copied")

    @property
    def usage(self) -> UsageInfo | None:
        """Tokens read and written; None until it came, which is at the end."""
        return None if self._answer is None else self._answer.usage

    @property
    def response_headers(self) -> dict[str, str] | None:
        """Those of the server's response, by names in lower case; None before it is there."""
        if self._response is None:
            return None
        return {name: self._effort.masked(value) for name, value in self._response.headers.items()}

    @property
    def rate_limit(self) -> RateLimit | None:
        """What the server told of its rate limits when the answer began; None where it said nothing."""
        return None if self._response is None else RateLimit.of(self._response.headers)
