"""The format of SmolLM2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mistral_client.server.engine import Part

from .told import told
from .turns import CALLS_MARK, ToolSpec, Turn


@dataclass(frozen=True, slots=True)
class ChatML:
    """The format of SmolLM2 and of many fine-tuned Mixtrals: `<|im_start|>role`, text, `<|im_end|>`, for each turn.

    Nothing is added to the conversation, also where the model's own template begins with a system text of its maker.
    Models name tools each in their own way in it, so they are told in plain words.
    """

    im_start: int
    im_end: int
    calls_mark: ClassVar[str] = CALLS_MARK

    def parts(self, turns: Sequence[Turn], tools: Sequence[ToolSpec] = ()) -> list[Part]:
        turns = told(turns, tools)
        parts: list[Part] = []
        for turn in turns:
            parts += [self.im_start, f"{turn.role}\n{turn.text}"]
            if not turn.prefix:
                parts += [self.im_end, "\n"]
        if not turns or not turns[-1].prefix:
            parts += [self.im_start, "assistant\n"]
        return parts
