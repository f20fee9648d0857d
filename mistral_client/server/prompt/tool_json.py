"""Tools, calls and results as JSON, word for word as mistral-common writes them for its third tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .turns import Call, ToolSpec, Turn


def tools_json(tools: Sequence[ToolSpec]) -> str:
    """The functions that may be called, as a JSON array."""
    return _dumps([{"type": "function", "function": _function(tool)} for tool in tools])


def calls_json(calls: Sequence[Call]) -> str:
    """Calls of an answer, as a JSON array."""
    return _dumps(
        [
            {"name": call.name, "arguments": value(call.arguments or "{}")} | ({"id": call.id} if call.id else {})
            for call in calls
        ]
    )


def result_json(turn: Turn) -> str:
    """What a tool answered, as a JSON object."""
    content = {"content": value(turn.text or "{}")}
    return _dumps(content | ({"call_id": turn.call_id} if turn.call_id else {}))


def value(text: str) -> Any:
    """What a text is as JSON; the text itself where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _function(tool: ToolSpec) -> dict[str, object]:
    return {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
