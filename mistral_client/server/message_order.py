"""The rules for the order of a conversation's messages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mistral_client.models.chat_completion import ChatMessage, Role

from . import errors

_MAY_FOLLOW = {
    Role.system: {Role.system, Role.user, Role.assistant},
    Role.user: {Role.system, Role.user, Role.assistant},
    Role.assistant: {Role.user, Role.assistant, Role.tool},
    Role.tool: {Role.assistant, Role.tool},
}
"""As in `MistralRequestValidator` of https://github.com/mistralai/mistral-common."""


def check_order(messages: Sequence[ChatMessage]) -> None:
    """Raises `WireError` where the messages do not make a conversation."""
    for before, after in pairwise(messages):
        if after.role not in _MAY_FOLLOW[Role(before.role)]:
            raise errors.message_order(f"Unexpected role '{after.role}' after role '{before.role}'")
    if messages[0].role == Role.tool:
        raise errors.message_order("Unexpected role 'tool' at the beginning of a conversation")
    last = messages[-1]
    answers = last.role in {Role.user, Role.tool} or (last.role == Role.assistant and last.prefix)
    if not answers:
        raise errors.message_order(
            f"Expected last role User or Tool (or Assistant with prefix True) for serving but got {last.role}"
        )
    open_calls = 0
    for message in messages:
        if message.role == Role.tool:
            open_calls -= 1
            continue
        if open_calls:
            break
        open_calls = len(message.tool_calls or ())
    if open_calls:
        raise errors.message_order("Not the same number of function calls and responses")
