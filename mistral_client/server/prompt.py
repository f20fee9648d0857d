"""From a conversation to the parts of a prompt, in the format that the model was trained on. Performs no I/O.

What users wrote stays plain text: only the ids that a format puts between the texts are control tokens. The engine's
`tokenize` encodes each text on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Literal, Protocol

from .engine import EngineError, Part

_BETWEEN_MESSAGES = "\n\n"

_OTHER_INSTRUCT_FORMATS = ("[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[SYSTEM_PROMPT]", "<<SYS>>")
"""Marks of later tokenizers of Mistral, and of Llama 2: they too write `[INST]`, with other spaces around it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation, as plain text."""

    role: Literal["system", "user", "assistant"]
    text: str
    prefix: bool = False
    """The beginning of the answer that is asked for: the model goes on where the text ends. Only on the last turn."""


class PromptFormat(Protocol):
    """How a model wants a conversation laid out."""

    def parts(self, turns: Sequence[Turn]) -> list[Part]:
        """The prompt after which the model answers, or goes on with a last turn that has `prefix` set."""


@dataclass(frozen=True, slots=True)
class InstructV1:
    """The format of Mixtral 8x7B Instruct and Mistral 7B Instruct v0.1: `<s> [INST] question [/INST] answer</s>`.

    `[INST]` and `[/INST]` are plain text in it. Laid out as `InstructTokenizerV1` and `InstructRequestNormalizer` of
    https://github.com/mistralai/mistral-common do: all system texts go before the first question, neighbours of one
    role are one message, and a conversation that does not begin with the user gets an empty question first.
    """

    bos: int
    eos: int

    def parts(self, turns: Sequence[Turn]) -> list[Part]:
        system = _joined([turn for turn in turns if turn.role == "system"])
        # System messages part their neighbours: two questions around one stay two.
        messages = [
            Turn(role, _joined(group), prefix=any(turn.prefix for turn in group))
            for role, group in ((role, list(group)) for role, group in groupby(turns, key=attrgetter("role")))
            if role != "system"
        ]
        if not messages or messages[0].role != "user":
            messages.insert(0, Turn("user", ""))
        if system:
            messages[0] = Turn("user", system + _BETWEEN_MESSAGES + messages[0].text)

        parts: list[Part] = [self.bos]
        for message in messages:
            if message.role == "user":
                parts.append(f"[INST] {message.text} [/INST]")
            else:
                parts.append(message.text)
                if not message.prefix:
                    parts.append(self.eos)
        return parts


@dataclass(frozen=True, slots=True)
class ChatML:
    """The format of SmolLM2 and of many fine-tuned Mixtrals: `<|im_start|>role`, text, `<|im_end|>`, for each turn.

    Nothing is added to the conversation, also where the model's own template begins with a system text of its maker.
    """

    im_start: int
    im_end: int

    def parts(self, turns: Sequence[Turn]) -> list[Part]:
        parts: list[Part] = []
        for turn in turns:
            parts += [self.im_start, f"{turn.role}\n{turn.text}"]
            if not turn.prefix:
                parts += [self.im_end, "\n"]
        if not turns or not turns[-1].prefix:
            parts += [self.im_start, "assistant\n"]
        return parts


def prompt_format(chat_template: str, token_id: Callable[[str], int | None]) -> PromptFormat:
    """The format that a model file's chat template describes.

    The template is looked at and never run, for it is code of whoever made the file. A file without one is judged by
    its vocabulary: ChatML where that has `<|im_start|>`, else the first Mixtral's format where it has `<s>` and `</s>`,
    for files of early 2024 often lack the template.

    `token_id` gives the id of a control token, or None.

    Raises `EngineError` for a format that the server does not know.
    """
    im_start, im_end = token_id("<|im_start|>"), token_id("<|im_end|>")
    bos, eos = token_id("<s>"), token_id("</s>")
    chatml = "<|im_start|>" in chat_template or not chat_template
    if chatml and im_start is not None and im_end is not None:
        return ChatML(im_start, im_end)
    # From v2 on `[INST]` is a control token, which the template alone does not tell.
    later = token_id("[INST]") is not None or any(mark in chat_template for mark in _OTHER_INSTRUCT_FORMATS)
    v1 = ("[INST]" in chat_template or not chat_template) and not later
    if v1 and bos is not None and eos is not None:
        return InstructV1(bos, eos)
    what = "chat template is not one" if chat_template else "chat template is missing and its vocabulary is not one"
    raise EngineError(
        f"the model file's {what} that the server knows: "
        "it knows [INST] as in Mixtral 8x7B Instruct v0.1 (tokenizer v1), and ChatML"
    )


def _joined(turns: Sequence[Turn]) -> str:
    return _BETWEEN_MESSAGES.join(turn.text for turn in turns if turn.text)
