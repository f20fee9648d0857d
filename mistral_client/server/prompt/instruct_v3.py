"""The format of Mixtral 8x22B Instruct."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from mistral_client.server.engine import Part

from .exchange import BETWEEN_MESSAGES, exchange, system_text
from .tool_json import calls_json, result_json, tools_json
from .turns import CALLS_MARK, ToolSpec, Turn


@dataclass(frozen=True, slots=True)
class InstructV3:
    """The format of Mixtral 8x22B Instruct, Mistral 7B Instruct v0.3 and Mistral Nemo, with tools.

    Laid out as `InstructTokenizerV3` and `InstructRequestNormalizer` of https://github.com/mistralai/mistral-common do:
    `[INST]` and its like are control tokens, system texts and tools go to the last question, and answers lose the
    spaces at their end. An answer that says something and calls tools, which mistral-common refuses in this format, is
    its text and then its calls.
    """

    bos: int
    eos: int
    inst: int
    end_inst: int
    tools: int
    end_tools: int
    tool_calls: int
    tool_results: int
    end_tool_results: int
    calls_mark: ClassVar[str] = CALLS_MARK

    @classmethod
    def of(cls, token_id: Callable[[str], int | None]) -> Self | None:
        """The format in a vocabulary; None where it lacks one of the tokens."""
        ids = [found for name in _TOKENS if (found := token_id(name)) is not None]
        return cls(*ids) if len(ids) == len(_TOKENS) else None

    def parts(self, turns: Sequence[Turn], tools: Sequence[ToolSpec] = ()) -> list[Part]:
        messages = exchange(turns)
        system = system_text(turns)
        last_question = max(index for index, message in enumerate(messages) if message.role == "user")
        parts: list[Part] = [self.bos]
        for index, message in enumerate(messages):
            match message.role:
                case "user":
                    text = message.text
                    if index == last_question:
                        text = system + BETWEEN_MESSAGES + text if system else text
                        if tools:
                            parts += [self.tools, tools_json(tools), self.end_tools]
                    parts += [self.inst, text, self.end_inst]
                case "tool":
                    parts += [self.tool_results, result_json(message), self.end_tool_results]
                case _:
                    parts.append(message.text.rstrip(" "))
                    if message.calls:
                        parts += [self.tool_calls, calls_json(message.calls)]
                    if not message.prefix:
                        parts.append(self.eos)
        return [part for part in parts if part != ""]


_TOKENS = (
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    CALLS_MARK,
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
)
"""In the order of the fields."""
