"""The format of Mixtral 8x7B Instruct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mistral_client.server.engine import Part

from .exchange import BETWEEN_MESSAGES, exchange, system_text
from .told import told
from .turns import CALLS_MARK, ToolSpec, Turn


@dataclass(frozen=True, slots=True)
class InstructV1:
    """The format of Mixtral 8x7B Instruct and Mistral 7B Instruct v0.1: `<s> [INST] question [/INST] answer</s>`.

    `[INST]` and `[/INST]` are plain text in it. Laid out as `InstructTokenizerV1` and `InstructRequestNormalizer` of
    https://github.com/mistralai/mistral-common do: all system texts go before the first question, neighbours of one
    role are one message, and a conversation that does not begin with the user gets an empty question first.

    It knows no tools, so they are told in plain words.
    """

    bos: int
    eos: int
    calls_mark: ClassVar[str] = CALLS_MARK

    def parts(self, turns: Sequence[Turn], tools: Sequence[ToolSpec] = ()) -> list[Part]:
        turns = told(turns, tools)
        first, *messages = exchange(turns)
        system = system_text(turns)
        parts: list[Part] = [self.bos, _question(system + BETWEEN_MESSAGES + first.text if system else first.text)]
        for message in messages:
            if message.role == "user":
                parts.append(_question(message.text))
            else:
                parts.append(message.text)
                if not message.prefix:
                    parts.append(self.eos)
        return parts


def _question(text: str) -> str:
    return f"[INST] {text} [/INST]"
