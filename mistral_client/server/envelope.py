"""What all of one answer has in common on the wire, whole or in chunks: its id, its time, its model."""

from __future__ import annotations

import time
import uuid

from mistral_client._sse import encode_event
from mistral_client.models.chat_completion import (
    ChatCompletionResponse,
    ChatCompletionResponseChoice,
    ChatCompletionResponseStreamChoice,
    ChatCompletionStreamResponse,
    DeltaMessage,
    Logprobs,
)
from mistral_client.models.common import UsageInfo


class Envelope:
    """model: the name that was asked for."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = uuid.uuid4().hex
        self._created = int(time.time())

    def whole(self, choices: list[ChatCompletionResponseChoice], usage: UsageInfo) -> ChatCompletionResponse:
        """The answer in one piece."""
        return ChatCompletionResponse(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._model,
            choices=choices,
            usage=usage,
        )

    def chunk(
        self,
        index: int,
        delta: DeltaMessage,
        logprobs: Logprobs | None = None,
        reason: str | None = None,
        usage: UsageInfo | None = None,
    ) -> ChatCompletionStreamResponse:
        """What is added to one of its choices. Logprobs and usage are fields only where there are some."""
        choice = ChatCompletionResponseStreamChoice(index=index, delta=delta, finish_reason=reason)
        if logprobs is not None:
            choice.logprobs = logprobs
        chunk = ChatCompletionStreamResponse(
            id=self._id, object="chat.completion.chunk", created=self._created, model=self._model, choices=[choice]
        )
        if usage is not None:
            chunk.usage = usage
        return chunk


def event_of(chunk: ChatCompletionStreamResponse) -> bytes:
    """A chunk as a server-sent event."""
    return encode_event(chunk.model_dump_json(exclude_unset=True))
