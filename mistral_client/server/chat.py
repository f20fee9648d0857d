"""Chat on both sides of the engine: a request as turns and sampling, a generation as the wire's answer."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

from mistral_client._sse import encode_event
from mistral_client.models.chat_completion import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionResponseChoice,
    ChatCompletionResponseStreamChoice,
    ChatCompletionStreamResponse,
    ChatMessage,
    DeltaMessage,
    FinishReason,
    ResponseFormat,
    ResponseFormats,
    Role,
    TextChunk,
)
from mistral_client.models.common import JSONObject, UsageInfo

from . import errors
from .engine import EngineError, Generation, Sampling
from .prompt import Turn

SAFE_PROMPT = (
    "Always assist with care, respect, and truth. Respond with utmost utility yet securely. Avoid harmful, unethical, "
    "prejudiced, or negative content. Ensure replies promote fairness and positivity."
)
"""What `safe_prompt` puts in front, in the API's own words."""

# A value that asks for nothing is no reason to refuse.
_ASKS_NOTHING: dict[str, tuple[object, ...]] = {
    "min_tokens": (0,),
    "repetition_penalty": (1.0,),
    "top_k": (0,),
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (),
    "prompt_logprobs": (False,),
    "tools": ([],),
    "tool_choice": ("auto", "none"),
    "prediction": (),
    "prompt_mode": (),
    "reasoning_effort": ("none",),
    "guardrails": ([],),
    "service_tier": ("auto", "default"),
}


def sampling_of(request: ChatCompletionRequest, max_tokens: int | None) -> Sampling:
    """How the answer is to be drawn; `max_tokens` is for a request that names none.

    Raises `WireError` for what this server cannot do.
    """
    for name, harmless in _ASKS_NOTHING.items():
        value = getattr(request, name)
        if value is not None and value not in harmless:
            raise errors.not_supported(name, f"{name}={value}" if isinstance(value, int | float | str) else name)
    given = {
        name: getattr(request, name)
        for name in ("temperature", "top_p", "random_seed", "max_tokens", "presence_penalty", "frequency_penalty")
        if getattr(request, name) is not None
    }
    given.setdefault("max_tokens", max_tokens)
    stop = request.stop or []
    return Sampling(
        **given,
        stop=tuple(text for text in ([stop] if isinstance(stop, str) else stop) if text),
        json_schema=_schema(request.response_format),
    )


def _schema(response_format: ResponseFormat | None) -> JSONObject | None:
    if response_format is None or response_format.type == ResponseFormats.text:
        return None
    return response_format.json_schema.schema_definition if response_format.json_schema else {}


def turns_of(request: ChatCompletionRequest) -> list[Turn]:
    """The conversation as plain text. Raises `WireError` where it is none, or holds more than text."""
    turns = [_turn(position, message) for position, message in enumerate(request.messages)]
    last = turns[-1]
    if last.role == "assistant" and not last.prefix:
        raise errors.message_order(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
        )
    if all(turn.role == "system" for turn in turns):
        raise errors.message_order(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got system"
        )
    if request.safe_prompt:
        turns.insert(0, Turn("system", SAFE_PROMPT))
    return turns


def _turn(position: int, message: ChatMessage) -> Turn:
    where = f"messages.{position}"
    if message.role == Role.tool or message.tool_calls:
        raise errors.not_supported(where, "a tool's part in a conversation")
    text = _text(where, message)
    if message.role == Role.assistant:
        if not text:
            raise errors.assistant_message("Assistant message must have either content or tool_calls, but not none.")
        return Turn("assistant", text, prefix=bool(message.prefix))
    return Turn("system" if message.role == Role.system else "user", text)


def _text(where: str, message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    texts = []
    for chunk in message.content:
        if not isinstance(chunk, TextChunk):
            raise errors.not_supported(where, f"content of type {chunk.type!r}")
        texts.append(chunk.text)
    return "".join(texts)


@dataclass(frozen=True, slots=True)
class Answer:
    """Words one generation for the wire, whole or in events. `model` is the name that was asked for."""

    model: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self, pieces: AsyncIterator[str | Generation]) -> ChatCompletionResponse:
        """The answer in one piece."""
        text = ""
        while isinstance(piece := await anext(pieces), str):
            text += piece
        message = ChatMessage(role=Role.assistant, content=text, tool_calls=None)
        choice = ChatCompletionResponseChoice(index=0, finish_reason=FinishReason(piece.finish_reason), message=message)
        return ChatCompletionResponse(
            id=self.id,
            object="chat.completion",
            created=self.created,
            model=self.model,
            choices=[choice],
            usage=_usage(piece),
        )

    async def events(self, pieces: AsyncIterator[str | Generation]) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events. What breaks once they flow becomes an error event, without `[DONE]`."""
        # The first piece says that the engine has begun. What it refuses before that is no stream yet, but an error.
        piece = await anext(pieces)
        yield self._event(DeltaMessage(role=Role.assistant, content=""))
        try:
            while isinstance(piece, str):
                if piece:
                    yield self._event(DeltaMessage(content=piece))
                piece = await anext(pieces)
        except EngineError as error:
            yield encode_event(errors.of_engine(error).json(), "error")
            return
        yield self._event(DeltaMessage(content=""), piece)
        yield encode_event("[DONE]")

    def _event(self, delta: DeltaMessage, end: Generation | None = None) -> bytes:
        reason = None if end is None else FinishReason(end.finish_reason)
        choice = ChatCompletionResponseStreamChoice(index=0, delta=delta, finish_reason=reason)
        chunk = ChatCompletionStreamResponse(
            id=self.id, object="chat.completion.chunk", created=self.created, model=self.model, choices=[choice]
        )
        if end is not None:
            chunk.usage = _usage(end)
        return encode_event(chunk.model_dump_json(exclude_unset=True))


def _usage(end: Generation) -> UsageInfo:
    return UsageInfo(
        prompt_tokens=end.prompt_tokens,
        total_tokens=end.prompt_tokens + end.completion_tokens,
        completion_tokens=end.completion_tokens,
    )
