"""What the servers of OpenAI's wire understand beyond what they all do, and how they are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mistral_client.models.models import ModelCard


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of server.

    fields: of Mistral's fields that OpenAI has no word for, those that it takes, each with its name there.
    going_on: what tells it to go on from the last assistant message; None where it cannot.
    repeats: such an answer begins with that message, as Mistral's does.
    """

    name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    going_on: Mapping[str, Any] | None = None
    repeats: bool = False


_GOING_ON = {"add_generation_prompt": False, "continue_final_message": True}
_SAMPLED = {name: name for name in ("top_k", "repetition_penalty", "min_tokens")}

OPENAI = Dialect("openai")
"""Nothing but what OpenAI's own API takes."""

VLLM = Dialect("vllm", _SAMPLED, _GOING_ON)
"""vllm/entrypoints/openai/chat_completion/protocol.py of https://github.com/vllm-project/vllm, also below Ray Serve."""

SGLANG = Dialect("sglang", _SAMPLED, {"continue_final_message": True})
"""python/sglang/srt/entrypoints/openai/protocol.py of https://github.com/sgl-project/sglang"""

LLAMA_CPP = Dialect("llama.cpp", {"top_k": "top_k", "repetition_penalty": "repeat_penalty"}, {}, repeats=True)
"""tools/server/README.md of https://github.com/ggml-org/llama.cpp: it always goes on from a last assistant message."""

DIALECTS = {dialect.name: dialect for dialect in (VLLM, SGLANG, LLAMA_CPP, OPENAI)}

_OWNERS = {"vllm": VLLM, "sglang": SGLANG, "llamacpp": LLAMA_CPP}


def spoken_by(card: ModelCard) -> Dialect:
    """The dialect of the server that shows this card of a model: each kind names itself there as the owner."""
    return _OWNERS.get(card.owned_by or "", OPENAI)


def context_length(card: ModelCard) -> int | None:
    """Tokens of prompt and answer together, where the card says it."""
    said = card.model_extra or {}
    meta = said.get("meta")
    in_meta = meta.get("n_ctx") if isinstance(meta, dict) else None
    for value in (said.get("max_model_len"), said.get("max_context_length"), in_meta):
        if type(value) is int and value > 0:
            return value
    return None
