"""A chat request of Mistral's wire in the words of OpenAI's. What the other server cannot do is refused."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Iterator, Sequence
from typing import Any

from mistral_client.models.chat_completion import (
    ChatCompletionRequest,
    ChatMessage,
    ContentChunk,
    ImageURLChunk,
    NamedToolChoice,
    Role,
    TextChunk,
    ToolCall,
    ToolChoice,
)

from .. import errors
from ..chat import SAFE_PROMPT, check_asked, offered_tools
from ..conversation import arguments_of
from ..message_order import check_order
from .dialect import Dialect

_SAME = (
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "n",
    "logprobs",
    "top_logprobs",
    "parallel_tool_calls",
)
"""Fields that mean the same under the same name."""

_OF_THE_DIALECT = ("min_tokens", "top_k", "repetition_penalty")

_TEMPERATURE = 0.7
"""Mistral's own, where a request names none; other servers have another."""


def request_of(body: ChatCompletionRequest, model: str, dialect: Dialect) -> dict[str, Any]:
    """The body for a server of this dialect, which knows the model by this name.

    Raises `WireError` for what makes no conversation, and for what such a server cannot do.
    """
    check_asked(body, allowed=dialect.fields)
    check_order(body.messages)
    sent: dict[str, Any] = {"model": model, "messages": list(_messages(body)), "temperature": _TEMPERATURE}
    sent |= {name: value for name in _SAME if (value := getattr(body, name)) is not None}
    for name in _OF_THE_DIALECT:
        value = getattr(body, name)
        if value and name not in dialect.fields:
            raise errors.not_supported(name, f"{name}={value}")
        if value:
            sent[dialect.fields[name]] = value
    if body.random_seed is not None:
        sent["seed"] = body.random_seed
    if body.response_format is not None:
        sent["response_format"] = body.response_format.model_dump(exclude_unset=True, by_alias=True)
    offered_tools(body)
    if body.tools:
        sent["tools"] = [tool.model_dump(exclude_unset=True) for tool in body.tools]
        sent["tool_choice"] = _tool_choice(body)
    if body.messages[-1].prefix:
        if dialect.going_on is None:
            raise errors.not_supported("messages", "an answer that goes on from a prefix")
        sent |= dialect.going_on
    if body.stream:
        sent |= {"stream": True, "stream_options": {"include_usage": True}}
    return sent


def must_call(body: ChatCompletionRequest) -> bool:
    """Whether an answer without a call is none."""
    return (
        bool(body.tools) and body.tool_choice is not None and body.tool_choice not in {ToolChoice.auto, ToolChoice.none}
    )


def prefix_of(body: ChatCompletionRequest) -> str:
    """What the answer has to begin with."""
    last = body.messages[-1]
    if not last.prefix or last.content is None:
        return ""
    if isinstance(last.content, str):
        return last.content
    return "".join(chunk.text for chunk in last.content if isinstance(chunk, TextChunk))


def call_id(given: str) -> str:
    """The id of a tool call as Mistral has them, nine letters and digits, made of one of another server's making."""
    if len(given) == _ID_LENGTH and given.isascii() and given.isalnum():
        return given
    digest = int.from_bytes(hashlib.sha256(given.encode()).digest())
    letters = []
    for _ in range(_ID_LENGTH):
        digest, letter = divmod(digest, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "".join(letters)


_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH = 9


def _tool_choice(body: ChatCompletionRequest) -> Any:
    choice = body.tool_choice
    if isinstance(choice, NamedToolChoice):
        return choice.model_dump()
    return "required" if choice == ToolChoice.any else str(choice or ToolChoice.auto)


def _messages(body: ChatCompletionRequest) -> Iterator[dict[str, Any]]:
    if body.safe_prompt:
        yield {"role": "system", "content": SAFE_PROMPT}
    unanswered: list[str] = []
    for position, message in enumerate(body.messages):
        sent: dict[str, Any] = {"role": message.role, "content": _content(f"messages.{position}", message)}
        if message.role == Role.assistant:
            if not message.content and not message.tool_calls:
                raise errors.assistant_message(
                    "Assistant message must have either content or tool_calls, but not none."
                )
            unanswered = [call.id for call in message.tool_calls or ()]
            if message.tool_calls:
                sent["tool_calls"] = _calls(message.tool_calls)
        elif message.role == Role.tool:
            # Programs of the time before tool_call_id answer the calls in their order.
            given = message.tool_call_id or (unanswered[0] if unanswered else "")
            if given in unanswered:
                unanswered.remove(given)
            sent["tool_call_id"] = given
        yield sent


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": arguments_of(call.function)},
        }
        for call in calls
    ]


def _content(where: str, message: ChatMessage) -> str | list[dict[str, Any]] | None:
    if not isinstance(message.content, list):
        return message.content
    return [_part(where, chunk) for chunk in message.content]


def _part(where: str, chunk: ContentChunk) -> dict[str, Any]:
    if isinstance(chunk, TextChunk):
        return {"type": "text", "text": chunk.text}
    if isinstance(chunk, ImageURLChunk):
        url = chunk.image_url
        return {"type": "image_url", "image_url": {"url": url} if isinstance(url, str) else url}
    raise errors.not_supported(where, f"content of type {json.dumps(chunk.type)}")
