"""What both kinds of stream have in common, and needs no I/O: what has come of the answer, and what tells of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, NoReturn

import httpx

from ._assembly import Assembly
from ._calls import AnswerT, Call
from ._chunks import ChunkDecoder
from ._config import Config
from ._exchange import Effort
from ._tell import chunks_told
from ._transport import restart
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

    def _start(self, response: httpx.Response) -> None:
        """An answer is about to come."""
        self._decoder = ChunkDecoder(self._call, response, self._config.limits.event)
        self._answer = self._decoder.answer
        self._feed = chunks_told(self._effort.watch, self._decoder.feed)
        self._heard = False

    def _until_begun(self) -> Iterator[AnswerT]:
        """Of the chunks that were read together those up to the one with which the answer begins."""
        for chunk in self._chunks:
            self._heard = True
            yield chunk
            if self._decoder.answer.begun:
                break

    def _listen(self, response: httpx.Response) -> None:
        """More is about to be read. After a sign of life the time to be silent begins anew."""
        if self._heard:
            restart(response.request)
            self._heard = False

    def _take(self, data: bytes | None, broken: MistralException | None) -> bool:
        """What was read: bytes, None at their end, or why there are no more. Whether the stream goes on."""
        if broken is not None:
            raise self._decoder.broken_by(broken)
        if data is None:
            self._decoder.end()
            return False
        self._chunks = self._feed(data)
        return True

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
