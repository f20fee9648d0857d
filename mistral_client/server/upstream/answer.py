"""Answers of other servers in Mistral's words: whole, or chunk by chunk as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

from mistral_client._sse import encode_event
from mistral_client.async_client import AsyncChatStream
from mistral_client.exceptions import MistralException
from mistral_client.models.chat_completion import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionResponseChoice,
    ChatCompletionStreamResponse,
    ChatMessage,
    DeltaMessage,
    FinishReason,
    Role,
    TextChunk,
    ThinkingChunk,
    ToolCall,
)
from mistral_client.models.common import UsageInfo

from ..engine import Generation, Piece
from ..envelope import Envelope, event_of
from ..metrics import Observation
from .failure import no_call, of_upstream
from .request import call_id, must_call
from .upstreams import Asked

Content = str | list[TextChunk | ThinkingChunk]


class Answer:
    """The answer to one request, whole or in events."""

    def __init__(self, body: ChatCompletionRequest, observation: Observation) -> None:
        self.failed = False
        """An event has said what went wrong."""
        self.prefix = ""
        """What it begins with, because the request says so and the other server does not repeat it."""
        self._body = body
        self._observation = observation
        self._envelope = Envelope(body.model)

    def whole(self, answer: ChatCompletionResponse) -> ChatCompletionResponse:
        """The same answer in Mistral's words. Raises `WireError` for one without the calls that were asked for."""
        if must_call(self._body) and not any(choice.message.tool_calls for choice in answer.choices):
            raise no_call()
        usage = _usage(answer.usage)
        choices = [self._choice(choice, usage) for choice in answer.choices]
        for choice in choices:
            self._observation.whole(choice.index, _said(cast("Content", choice.message.content)))
        self._ended(usage, [str(choice.finish_reason) for choice in choices])
        return self._envelope.whole(choices, usage)

    async def events(self, asked: Asked[AsyncChatStream[ChatCompletionStreamResponse]]) -> AsyncGenerator[bytes, None]:
        """The chunks as Mistral's events. What breaks in between becomes an error event, without `[DONE]`.

        Others send calls in pieces, and the usage behind the finish reason: calls go on when they are whole, and the
        last finish reason waits for the usage.
        """
        for index in range(self._body.n or 1):
            yield event_of(self._envelope.chunk(index, DeltaMessage(role=Role.assistant, content="")))
            if self.prefix:
                yield event_of(self._envelope.chunk(index, DeltaMessage(content=self.prefix)))
        reasons: dict[int, str] = {}
        try:
            async for chunk in asked.result:
                for choice in chunk.choices:
                    if (content := _content(choice.delta)) or choice.logprobs is not None:
                        self._observation.token(choice.index, Piece(_said(content)))
                        yield event_of(
                            self._envelope.chunk(choice.index, DeltaMessage(content=content), choice.logprobs)
                        )
                    if choice.finish_reason is not None:
                        reasons[choice.index] = choice.finish_reason
            answer = await asked.result.final_response()
        except MistralException as error:
            asked.failure = error
            self.failed = True
            yield encode_event(of_upstream(error).json(), "error")
            return
        calls = {choice.index: choice.message.tool_calls or [] for choice in answer.choices}
        if must_call(self._body) and not any(calls.values()):
            self.failed = True
            yield encode_event(no_call().json(), "error")
            return
        usage = _usage(answer.usage)
        told = {index: self._reason(reason, bool(calls[index]), usage) for index, reason in reasons.items()}
        self._ended(usage, [*told.values()])
        for position, (index, reason) in enumerate(told.items(), start=1):
            delta = DeltaMessage(content="")
            if calls[index]:
                delta.tool_calls = [_call(number, call) for number, call in enumerate(calls[index])]
            last = usage if position == len(told) else None
            yield event_of(self._envelope.chunk(index, delta, reason=reason, usage=last))
        yield encode_event("[DONE]")

    def _choice(self, choice: ChatCompletionResponseChoice, usage: UsageInfo) -> ChatCompletionResponseChoice:
        calls = [_call(number, call) for number, call in enumerate(choice.message.tool_calls or ())]
        content = _content(choice.message)
        message = ChatMessage(
            role=Role.assistant,
            content=self.prefix + content if isinstance(content, str) else content,
            tool_calls=calls or None,
        )
        reason = self._reason(str(choice.finish_reason), bool(calls), usage)
        answer = ChatCompletionResponseChoice(index=choice.index, finish_reason=reason, message=message)
        if choice.logprobs is not None:
            answer.logprobs = choice.logprobs
        return answer

    def _ended(self, usage: UsageInfo, reasons: Sequence[str]) -> None:
        """Measure an answer that is whole. Only the first of several has tokens: servers count them together."""
        tokens = [usage.completion_tokens or 0, *[0] * len(reasons)]
        ends = [
            Generation(cast("Any", reason), usage.prompt_tokens, count)
            for reason, count in zip(reasons, tokens, strict=False)
        ]
        if ends:
            self._observation.ended(ends)

    def _reason(self, given: str, calls: bool, usage: UsageInfo) -> str:
        if calls:
            return FinishReason.tool_calls
        limit = self._body.max_tokens
        cut_by_context = (self._body.n or 1) == 1 and (limit is None or (usage.completion_tokens or 0) < limit)
        if given == FinishReason.length and cut_by_context:
            return FinishReason.model_length
        return given


def _usage(given: UsageInfo) -> UsageInfo:
    """The three counts of Mistral's."""
    prompt, total = given.prompt_tokens, given.total_tokens
    return UsageInfo(prompt_tokens=prompt, total_tokens=total, completion_tokens=total - prompt)


def _content(message: ChatMessage | DeltaMessage) -> Content:
    """The text, and before it what a reasoning model thought, which other servers send in a field of its own."""
    text = message.content if isinstance(message.content, str) else ""
    said = message.model_extra or {}
    thought = said.get("reasoning") or said.get("reasoning_content")
    if not isinstance(thought, str):
        return text
    thinking = ThinkingChunk(thinking=[{"type": "text", "text": thought}])
    return [thinking, TextChunk(text=text)] if text else [thinking]


def _said(content: Content) -> str:
    """All of its text in one, for who looks."""
    if isinstance(content, str):
        return content
    parts = [part.thinking if isinstance(part, ThinkingChunk) else [{"text": part.text}] for part in content]
    return "".join(str(text["text"]) for part in parts for text in part)


def _call(number: int, call: ToolCall) -> ToolCall:
    return ToolCall(id=call_id(call.id), function=call.function, index=number)
