"""An event stream as typed chunks, without I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic

from pydantic import ValidationError

from ._calls import AnswerT, Call, validation_message
from ._error_body import api_error, is_error_body
from ._exchange import Response, json_or_none, unexpected
from ._sse import Event, EventDecoder, EventTooLong
from .exceptions import MistralException, StreamInterrupted

DONE = "[DONE]"


class ChunkDecoder(Generic[AnswerT]):
    """Feed it the bytes of a response's body as they come; it gives chunks, or raises what the stream came to.

    done: `[DONE]` was read and every answer has its finish reason. What follows is of no interest.
    """

    def __init__(self, call: Call[AnswerT], response: Response) -> None:
        self.done = False
        self._chunk = call.answer
        self._response = response
        self._events = EventDecoder()
        self._text: list[str] = []
        self._unfinished: set[int] = set()
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] | None = None

    def feed(self, data: bytes) -> Iterator[AnswerT]:
        """The chunks that these bytes complete. Iterate it to its end before the next call.

        Raises an API error for an error event, `ProtocolError` for an event that is no chunk, `StreamInterrupted` for a
        `[DONE]` before the answer was finished.
        """
        if self.done:
            return
        try:
            for event in self._events.feed(data):
                if event.data == DONE:
                    self.done = True
                    if self._unfinished or self._finish_reason is None:
                        raise self.interrupted("the event stream is done, but the answer has no finish reason")
                    return
                yield self._decode(event)
        except EventTooLong as error:
            raise unexpected(self._response, str(error)) from None

    def end(self) -> None:
        """Call it when the bytes have ended. Raises `StreamInterrupted` unless `[DONE]` was among them."""
        if not self.done:
            raise self.interrupted("the event stream ended before [DONE]")

    def interrupted(self, why: str) -> StreamInterrupted:
        """The error for a stream that breaks off here, with what was received of the answer."""
        error = StreamInterrupted(why, self._response.status_code, self._response.headers)
        return error.with_answer("".join(self._text), self._finish_reason, self._usage)

    def _decode(self, event: Event) -> AnswerT:
        if event.type == "error":
            raise self._server_error(event.data)
        try:
            chunk = self._chunk.model_validate_json(event.data)
        except ValidationError as error:
            if is_error_body(json_or_none(event.data)):
                raise self._server_error(event.data) from None
            raise unexpected(self._response, f"an event that is no chunk: {validation_message(error)}") from None
        self._note(chunk)
        return chunk

    def _note(self, chunk: Any) -> None:
        """Keep what an interruption must not lose."""
        for choice in chunk.choices:
            if choice.index == 0 and isinstance(choice.delta.content, str):
                self._text.append(choice.delta.content)
            if choice.finish_reason is None:
                self._unfinished.add(choice.index)
            else:
                self._unfinished.discard(choice.index)
                self._finish_reason = str(choice.finish_reason)
        if chunk.usage is not None:
            self._usage = chunk.usage.model_dump()

    def _server_error(self, data: str) -> MistralException:
        # The status of the response was 200; an error in mid-stream is the server's failure.
        return api_error(500, self._response.headers, data.encode())
