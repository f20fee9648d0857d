"""Tools for models that were not trained on any: told in plain words, and calls and results as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .tool_json import calls_json, result_json, tools_json
from .turns import CALLS_MARK, ToolSpec, Turn


def told(turns: Sequence[Turn], tools: Sequence[ToolSpec]) -> list[Turn]:
    """The same conversation without tool turns and calls: a system text in front says which tools there are."""
    plain = [_plain(turn) for turn in turns]
    return [Turn("system", _lesson(tools)), *plain] if tools else plain


def _lesson(tools: Sequence[ToolSpec]) -> str:
    return (
        f"You can call these functions:\n{tools_json(tools)}\n"
        f"To call functions, answer with {CALLS_MARK} and a JSON array of calls, and nothing else, like this:\n"
        f'{CALLS_MARK}[{{"name": "...", "arguments": {{...}}}}]\n'
        "What they return comes in the next message. If no function helps, answer in plain words."
    )


def _plain(turn: Turn) -> Turn:
    if turn.role == "tool":
        return Turn("user", f"[TOOL_RESULTS]{result_json(turn)}[/TOOL_RESULTS]")
    if turn.calls:
        return replace(turn, text=f"{turn.text}{CALLS_MARK}{calls_json(turn.calls)}", calls=())
    return turn
