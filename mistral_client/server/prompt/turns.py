"""What a prompt is made of: turns, tools, and the formats that lay them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mistral_client.server.engine import Part

CALLS_MARK = "[TOOL_CALLS]"
"""With what an answer begins that calls tools. A JSON array `[{"name": ..., "arguments": {...}}]` follows."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function that an answer called."""

    id: str
    name: str
    arguments: str
    """As JSON."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function that the model may call."""

    name: str
    description: str
    parameters: Mapping[str, object]
    """A JSON schema."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation, as plain text."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    prefix: bool = False
    """The beginning of the answer that is asked for: the model goes on where the text ends. Only on the last turn."""
    calls: tuple[Call, ...] = ()
    """What an assistant called."""
    call_id: str | None = None
    """The call that a tool answers."""
    name: str | None = None
    """The tool that answers."""


class PromptFormat(Protocol):
    """How a model wants a conversation laid out."""

    @property
    def calls_mark(self) -> str:
        """The text with which an answer begins that calls tools.

        The name of a control token where the model has it, plain text elsewhere.
        """

    def parts(self, turns: Sequence[Turn], tools: Sequence[ToolSpec] = ()) -> list[Part]:
        """The prompt after which the model answers, or goes on with a last turn that has `prefix` set.

        Raises `UnsupportedError` for a conversation that the model's format cannot express.
        """
