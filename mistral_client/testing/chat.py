"""Answers to chats, and to texts with a hole in them: texts and calls of tools, whole or in chunks."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from pydantic import ValidationError

from mistral_client._calls import validation_message
from mistral_client.exceptions import ArgumentError
from mistral_client.models.chat_completion import (
    ChatCompletionRequest,
    ChatCompletionResponseChoice,
    ChatMessage,
    DeltaMessage,
    FinishReason,
    FunctionCall,
    Role,
    ToolCall,
)
from mistral_client.models.common import UsageInfo
from mistral_client.server.envelope import Envelope
from mistral_client.server.message_order import check_order

from .answer import DONE, EVENT_STREAM, Answer, Event, written
from .request import CHAT, FIM, Request, parse

Text = str | Sequence[str]
Call = ToolCall | FunctionCall | Mapping[str, Any]

_WORD = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True)
class ChatReply:
    """text: of the answer; in pieces, where the chunks matter; or a function of the request that gives either.
    usage: in place of counted words.
    """

    text: Text | Callable[[Request], Text]
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: UsageInfo | None = None

    def answers(self, request: Request) -> bool:
        return request.method == "POST" and request.path in {CHAT, FIM}

    def answer(self, request: Request) -> Answer:
        asked = parse(request)
        answers = 1
        if isinstance(asked, ChatCompletionRequest):
            check_order(asked.messages)
            answers = asked.n or 1
        text = self.text(request) if callable(self.text) else self.text
        pieces = _WORD.findall(text) if isinstance(text, str) else [*text]
        reason = self.finish_reason or (FinishReason.tool_calls if self.tool_calls else FinishReason.stop)
        usage = self.usage or _counted(request, answers * (len(pieces) + len(self.tool_calls)))
        given = _Given(request.model or "", pieces, [*self.tool_calls], reason, usage, range(answers))
        if request.stream:
            return Answer(given.events(), content_type=EVENT_STREAM)
        return Answer(given.whole().encode())

    def __str__(self) -> str:
        calls = f", tool_calls={[call.function.name for call in self.tool_calls]}" if self.tool_calls else ""
        return f"reply({self.text!r}{calls})"


class _Given:
    """An answer that is known in advance, in the words of the wire."""

    def __init__(
        self,
        model: str,
        pieces: list[str],
        calls: list[ToolCall],
        reason: str,
        usage: UsageInfo,
        indices: range,
    ) -> None:
        self._pieces, self._calls, self._reason, self._usage, self._indices = pieces, calls, reason, usage, indices
        self._envelope = Envelope(model)

    def whole(self) -> str:
        text = "".join(self._pieces)
        message = ChatMessage(role=Role.assistant, content=text, tool_calls=self._calls or None)
        choices = [
            ChatCompletionResponseChoice(index=index, finish_reason=self._reason, message=message)
            for index in self._indices
        ]
        return written(self._envelope.whole(choices, self._usage).model_dump(exclude_unset=True))

    def events(self) -> Generator[Event]:
        for index in self._indices:
            yield self._chunk(index, DeltaMessage(role=Role.assistant, content=""))
        for piece in self._pieces:
            for index in self._indices:
                yield self._chunk(index, DeltaMessage(content=piece))
        for index in self._indices:
            last = DeltaMessage(content="")
            if self._calls:
                last.tool_calls = self._calls
            yield self._chunk(index, last, ended=True)
        yield Event(DONE)

    def _chunk(self, index: int, delta: DeltaMessage, *, ended: bool = False) -> Event:
        reason = self._reason if ended else None
        usage = self._usage if ended and index == self._indices[-1] else None
        return Event(self._envelope.chunk(index, delta, reason=reason, usage=usage).model_dump(exclude_unset=True))


def as_tool_calls(calls: Sequence[Call], numbers: count[int]) -> tuple[ToolCall, ...]:
    """Calls as the wire has them; numbers: of those that have no id. Raises `ArgumentError` for what is no call."""
    return tuple(_tool_call(call, index, numbers) for index, call in enumerate(calls))


def _tool_call(call: Call, index: int, numbers: count[int]) -> ToolCall:
    try:
        if isinstance(call, Mapping):
            call = (ToolCall if "function" in call else FunctionCall).model_validate(call)
    except ValidationError as error:
        raise ArgumentError(f"tool_calls.{index}: {validation_message(error)}") from None
    given: dict[str, Any] = {}
    if isinstance(call, ToolCall):
        given, call = call.model_dump(exclude_unset=True), call.function
    if not call.name:
        raise ArgumentError(f"tool_calls.{index}: a call names a function")
    arguments = call.arguments if isinstance(call.arguments, str) else written(call.arguments)
    function = FunctionCall(name=call.name, arguments=arguments or "{}")
    if "id" not in given:
        given["id"] = f"call{next(numbers):05}"
    return ToolCall(**{**given, "function": function, "index": index})


def as_usage(usage: Mapping[str, int]) -> UsageInfo:
    """A total that is missing is the sum. Raises `ArgumentError` for what is no usage."""
    try:
        counted = UsageInfo(**{"total_tokens": 0, **usage})
    except ValidationError as error:
        raise ArgumentError(f"usage: {validation_message(error)}") from None
    if "total_tokens" not in usage:
        counted.total_tokens = counted.prompt_tokens + (counted.completion_tokens or 0)
    return counted


def _counted(request: Request, said: int) -> UsageInfo:
    """Words in place of tokens."""
    texts = [message.get("content") for message in request.messages] or [request.text]
    read = sum(len(str(text or "").split()) for text in texts)
    return UsageInfo(prompt_tokens=read, total_tokens=read + said, completion_tokens=said)
