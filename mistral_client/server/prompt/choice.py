"""Which format a model wants."""

from __future__ import annotations

from collections.abc import Callable

from mistral_client.server.engine import EngineError

from .chatml import ChatML
from .instruct_v1 import InstructV1
from .instruct_v3 import InstructV3
from .template import TemplateFormat
from .turns import PromptFormat

_OTHER_INSTRUCT_FORMATS = ("[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[SYSTEM_PROMPT]", "<<SYS>>")
"""Marks of later tokenizers of Mistral, and of Llama 2: they too write `[INST]`, with other spaces around it."""


def prompt_format(
    chat_template: str, token_id: Callable[[str], int | None], *, bos: str | None = None, eos: str | None = None
) -> PromptFormat:
    """The format that a model file's chat template and vocabulary describe.

    ChatML and the formats of the first Mixtrals are written by code of our own. For any other the template is run, in a
    sandbox, see `TemplateFormat`. A file without a template is judged by its vocabulary: ChatML where that has
    `<|im_start|>`, else a Mixtral's format where it has those tokens, for files of early 2024 often lack the template.

    token_id: gives the id of a control token, or None.
    bos, eos: the control tokens that begin and end a text; None: the first of the usual names that the vocabulary has.

    Raises `EngineError` where there is nothing to go by, or a template that cannot be run.
    """
    im_start, im_end = token_id("<|im_start|>"), token_id("<|im_end|>")
    chatml = "<|im_start|>" in chat_template or not chat_template
    if chatml and im_start is not None and im_end is not None:
        return ChatML(im_start, im_end)
    if "[INST]" in chat_template or not chat_template:
        # From v2 on `[INST]` is a control token, which the template alone does not tell.
        own = _v1(chat_template, token_id) if token_id("[INST]") is None else _v3(token_id)
        if own is not None:
            return own
    if chat_template:
        return TemplateFormat(chat_template, token_id, bos=bos, eos=eos)
    raise EngineError(
        "the model file has no chat template, and its vocabulary is not one that the server knows a format for: "
        "it knows those of Mixtral 8x7B (tokenizer v1) and 8x22B (v3), and ChatML"
    )


def _v1(chat_template: str, token_id: Callable[[str], int | None]) -> InstructV1 | None:
    bos, eos = token_id("<s>"), token_id("</s>")
    if bos is None or eos is None or any(mark in chat_template for mark in _OTHER_INSTRUCT_FORMATS):
        return None
    return InstructV1(bos, eos)


def _v3(token_id: Callable[[str], int | None]) -> InstructV3 | None:
    """None from v7 on, which has other places for the system text and for results."""
    return InstructV3.of(token_id) if token_id("[SYSTEM_PROMPT]") is None else None
