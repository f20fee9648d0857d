"""From a conversation to the parts of a prompt, in the format that the model was trained on. Performs no I/O.

What users wrote stays plain text: only the ids that a format puts between the texts are control tokens. The engine's
`tokenize` encodes each text on its own.
"""

from __future__ import annotations

from .chatml import ChatML
from .choice import prompt_format
from .instruct_v1 import InstructV1
from .instruct_v3 import InstructV3
from .template import TemplateFormat
from .turns import CALLS_MARK, Call, PromptFormat, ToolSpec, Turn

__all__ = [
    "CALLS_MARK",
    "Call",
    "ChatML",
    "InstructV1",
    "InstructV3",
    "PromptFormat",
    "TemplateFormat",
    "ToolSpec",
    "Turn",
    "prompt_format",
]
