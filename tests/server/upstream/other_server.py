"""A server of somebody else's, in raw bytes: it lists its models, and answers what is asked of them by script."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import RawServer, Script, chunk, chunked_head, http

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"


def card(owner: str = "vllm", **fields: Any) -> dict[str, Any]:
    """A model card as vLLM has it, or, with another owner, one of its kind."""
    return {"id": MODEL, "object": "model", "created": 1, "owned_by": owner, "max_model_len": 4096, **fields}


class OtherServer(RawServer):
    """`requests` are those that ask a model; `looks` counts how often somebody asked for the models."""

    def __init__(self, *scripts: Script, cards: list[dict[str, Any]] | None = None) -> None:
        self.cards = [card()] if cards is None else cards
        self.looks = 0
        self.is_well = True
        super().__init__(*scripts)

    def script_for(self, request: bytes) -> Script:
        if not request.startswith(b"GET /v1/models "):
            return super().script_for(request)
        self.looks += 1
        if not self.is_well:
            return [http(b"loading", "503 Service Unavailable", "text/plain")]
        return [http(json.dumps({"object": "list", "data": self.cards}).encode()), None]

    def asked(self, number: int = -1) -> dict[str, Any]:
        """The body of a request."""
        body: dict[str, Any] = json.loads(self.requests[number].partition(b"\r\n\r\n")[2])
        return body


def answer(message: dict[str, Any], reason: str = "stop", **choice: Any) -> list[bytes | None]:
    """A whole answer, in vLLM's words."""
    said = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
        **message,
    }
    body = {
        "id": "chatcmpl-5a7e0c9f2b4d4c38a1f6",
        "object": "chat.completion",
        "created": 1795700000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": said,
                "logprobs": None,
                "finish_reason": reason,
                "stop_reason": None,
                "token_ids": None,
                **choice,
            }
        ],
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {"prompt_tokens": 9, "total_tokens": 14, "completion_tokens": 5, "prompt_tokens_details": None},
        "prompt_logprobs": None,
        "kv_transfer_params": None,
    }
    return [http(json.dumps(body).encode()), None]


def chunk_of(delta: dict[str, Any], reason: str | None = None, **choice: Any) -> bytes:
    """One event of a stream, in vLLM's words."""
    told = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason, "token_ids": None, **choice}
    return event({**_CHUNK, "choices": [told]})


def event(body: Any) -> bytes:
    return chunk(b"data: " + json.dumps(body).encode() + b"\n\n")


_CHUNK = {"id": "chatcmpl-9c1d", "object": "chat.completion.chunk", "created": 1795700000, "model": MODEL}
ROLE = chunk_of({"role": "assistant", "content": ""})
USAGE = event({**_CHUNK, "choices": [], "usage": {"prompt_tokens": 9, "total_tokens": 14, "completion_tokens": 5}})
END = [USAGE, chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n", None]


def stream(*chunks: bytes) -> list[Any]:
    """A stream of these events, with what is before and after them."""
    return [chunked_head(), ROLE, *chunks, *END]
