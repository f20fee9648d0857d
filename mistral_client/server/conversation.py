"""A conversation as the API takes it: its messages as plain turns."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from mistral_client.models.chat_completion import ChatMessage, FunctionCall, Role, TextChunk, ToolCall

from . import errors
from .message_order import check_order
from .prompt import Call, Turn

_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")

_FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def turns_of(messages: Sequence[ChatMessage]) -> list[Turn]:
    """The messages as plain text and calls.

    Raises `WireError` where they do not make a conversation, or hold more than text.
    """
    turns = [_turn(f"messages.{position}", message) for position, message in enumerate(messages)]
    check_order(messages)
    return turns


def check_function_name(name: str) -> None:
    """Raises `WireError` for a name that no function may have."""
    if not _FUNCTION_NAME.fullmatch(name):
        raise errors.function_call(
            f"Function name was {name} but must be a-z, A-Z, 0-9, or contain underscores and dashes, "
            "with a maximum length of 64."
        )


def _turn(where: str, message: ChatMessage) -> Turn:
    text = _text(where, message)
    match Role(message.role):
        case Role.assistant:
            calls = tuple(map(_call, message.tool_calls or ()))
            if not text and not calls:
                raise errors.assistant_message(
                    "Assistant message must have either content or tool_calls, but not none."
                )
            if calls and message.prefix:
                raise errors.assistant_message("Assistant message with prefix True cannot have tool_calls.")
            return Turn("assistant", text, prefix=bool(message.prefix), calls=calls)
        case Role.tool:
            # Programs of the time before tool_call_id name the function alone.
            if message.tool_call_id is not None:
                _check_call_id(message.tool_call_id)
            if message.name is not None:
                check_function_name(message.name)
            return Turn("tool", text, call_id=message.tool_call_id, name=message.name)
        case Role.system:
            return Turn("system", text)
        case Role.user:
            return Turn("user", text)


def _call(call: ToolCall) -> Call:
    _check_call_id(call.id)
    check_function_name(call.function.name)
    return Call(call.id, call.function.name, arguments_of(call.function))


def arguments_of(function: FunctionCall) -> str:
    """The arguments of a call as JSON. Raises `WireError` for what is none."""
    if not isinstance(function.arguments, str):
        return json.dumps(function.arguments, ensure_ascii=False)
    try:
        json.loads(function.arguments)
    except (ValueError, RecursionError):
        raise errors.function_call(f"The arguments of {function.name} are not JSON.") from None
    return function.arguments


def _check_call_id(id: str) -> None:
    if not _CALL_ID.fullmatch(id):
        raise errors.function_call(f"Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.")


def _text(where: str, message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    texts = []
    for chunk in message.content:
        if not isinstance(chunk, TextChunk):
            raise errors.not_supported(where, f"content of type {chunk.type!r}")
        texts.append(chunk.text)
    return "".join(texts)
