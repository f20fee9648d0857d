"""An event stream as typed chunks, without I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic

from ._assembly import AnswerGoesOn, Assembly
from ._calls import AnswerT, Call
from ._content_coding import decoder
from ._error_body import api_error
from ._exchange import Response, decoded, reader_of, server_error, unexpected
from ._sse import Event, EventDecoder, EventTooLong
from .exceptions import MistralException, ProtocolError, RequestTimeout, StreamInterrupted, StreamTimeout

DONE = "[DONE]"

# The status of the response was 200; an error in mid-stream is the server's failure.
_FAILED = 500


class ChunkDecoder(Generic[AnswerT]):
    """Feed it the bytes of a response's body as they come; it gives chunks, or raises what the stream came to.

    limit: the most bytes of one event.
    answer: what has come.
    done: `[DONE]` was read and every answer has its finish reason. What follows is of no interest.

    Every error that it raises holds what had come of the answer.
    """

    def __init__(self, call: Call[AnswerT], response: Response, limit: int | None) -> None:
        self.answer = Assembly()
        self.done = False
        self._read = reader_of(call.answer)
        self._response = response
        self._decompress = decoder(response.headers.get("content-encoding", ""))
        self._events = EventDecoder(limit)
        self._number: int | None = None
        self._counts = False

    def feed(self, data: bytes) -> Iterator[AnswerT]:
        """The chunks that these bytes complete. Iterate it to its end before the next call.

        Raises an API error for an error event, `ProtocolError` for an event that is no chunk or comes out of order,
        `StreamInterrupted` for a `[DONE]` before the answer was finished.
        """
        if self.done:
            return
        try:
            for piece in self._decompress(data):
                for event in self._events.feed(piece):
                    if event.data == DONE:
                        self.done = True
                        if not self.answer.finished:
                            raise self._interrupted("the event stream is done, but the answer has no finish reason")
                        return
                    yield self._decode(event)
        except EventTooLong as error:
            failure: MistralException = unexpected(self._response, str(error))
        except MistralException as error:
            failure = error
        else:
            return
        raise self.answer.on(failure)

    def end(self) -> None:
        """Call it when the bytes have ended. Raises `StreamInterrupted` unless the answer is whole.

        Some servers (`transformers serve` is one) send no `[DONE]`. Theirs is whole when every answer has its finish
        reason and HTTP itself said where the body ends: the end of a connection alone may be a cut.
        """
        if not self.done and not (self.answer.finished and _delimited(self._response)):
            raise self._interrupted("the event stream ended before [DONE]")

    def broken_by(self, failure: MistralException) -> MistralException:
        """The error for a stream whose bytes end in a failure."""
        timed_out = isinstance(failure, RequestTimeout)
        error = self._interrupted(str(failure.message), StreamTimeout if timed_out else StreamInterrupted)
        error.__cause__ = failure.__cause__
        return error

    def _interrupted(self, why: str, kind: type[StreamInterrupted] = StreamInterrupted) -> MistralException:
        error = kind(why, self._response.status_code, self._response.headers)
        error.retryable = not self.answer.begun
        return self.answer.on(error)

    def _decode(self, event: Event) -> AnswerT:
        if event.type == "error":
            raise server_error(event.data, self._response, _FAILED) or api_error(
                _FAILED, self._response.headers, event.data.encode()
            )
        chunk = decoded(self._read, event.data, self._response, _FAILED, "an event that is no chunk")
        # What pydantic calls `model_extra`, without a call around it.
        unknown = chunk.__pydantic_extra__
        if unknown or event.id is not None:
            self._check_order(_number(event, unknown or {}))
        try:
            self.answer.add(chunk, unknown)
        except AnswerGoesOn as error:
            raise self._out_of_order(str(error)) from None
        return chunk

    def _check_order(self, number: int | None) -> None:
        """Events that are counted must go on counting. Some servers give all of them the same number."""
        if number is None:
            return
        last, self._number = self._number, number
        if last is not None and number > last:
            self._counts = True
        elif self._counts:
            raise self._out_of_order(f"event {number} came after event {last}")

    def _out_of_order(self, what: str) -> ProtocolError:
        return unexpected(self._response, f"the event stream is out of order: {what}")


def _delimited(response: Response) -> bool:
    """The body has a length or comes in HTTP's own chunks: one that is cut then fails to be read."""
    return any(name in response.headers for name in ("content-length", "transfer-encoding"))


def _number(event: Event, unknown: Mapping[str, Any]) -> int | None:
    """The place of an event in its stream, where the server counts: in the event's id, or in a field of the chunk."""
    if event.id is not None and event.id.isdecimal():
        return int(event.id[:_DIGITS])
    return next((number for name in _COUNTERS if isinstance(number := unknown.get(name), int)), None)


_DIGITS = 18  # more than any count, and soon read
_COUNTERS = ("sequence_number", "index")
