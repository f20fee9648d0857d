"""Calls as JSON, for the page: a line of each for the list, and one in full."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json, to_json

from .call import Call

_READ = 64 * 2**10
"""Bytes of a body that is read for the list's sake."""

_PREVIEW = 160
_FAULT = 2000
"""Characters."""


def line(call: Call) -> dict[str, Any]:
    """What the list shows. Times are milliseconds from the call's beginning; null for what did not happen (yet)."""
    if call.about is None and call.body:
        call.about = _about(call.body)
    model, preview, stream = call.about or ("", "", False)
    moments = ("prepared", "started", "first", "latest", "ended")
    return {
        "number": call.number,
        "at": call.at,
        "method": call.method,
        "path": call.path,
        "agent": call.agent,
        "attempts": call.attempts,
        "label": call.label,
        "correlation": call.correlation,
        "model": call.model or model,
        "preview": preview,
        "stream": stream,
        "status": call.status,
        "outcome": call.outcome,
        "fault": _fault(call.error),
        "replayed": call.replayed,
        "times": call.times,
        "prompt_tokens": call.prompt_tokens,
        "answer_tokens": call.answer_tokens,
        "reasons": call.reasons,
        **{name: _milliseconds(call, getattr(call, name)) for name in moments},
        "now": _milliseconds(call, time.monotonic() if call.ended is None else call.ended),
    }


def whole(call: Call, prompt: Sequence[Any] | None) -> bytes:
    """All of a call. prompt: its tokens as texts; None where they are not known."""
    told = {
        "call": line(call),
        "body": call.body.decode("utf-8", "replace"),
        "error": call.error.decode("utf-8", "replace"),
        "prompt": prompt,
        "from": 0,
    }
    return _with_reply(told, call.reply or to_json(call.written()))


def more(call: Call, after: int) -> bytes:
    """What is new since a call had so many pieces."""
    if call.ended is None:
        return _with_reply({"call": line(call), "from": after}, to_json(call.written(after)))
    return _with_reply({"call": line(call), "from": 0}, call.reply)


def _with_reply(told: dict[str, Any], reply: bytes) -> bytes:
    """The reply is JSON already."""
    return to_json(told)[:-1] + b',"reply":' + (reply or b"[]") + b"}"


def _milliseconds(call: Call, moment: float | None) -> float | None:
    return None if moment is None else round((moment - call.begun) * 1000, 1)


def _fault(error: bytes) -> str:
    """What an error says, in whichever of the API's shapes it is."""
    if not error:
        return ""
    text = error.decode("utf-8", "replace").removeprefix("event: error\n").removeprefix("data: ")
    try:
        said = from_json(text)
    except ValueError:
        return text[:_FAULT]
    if not isinstance(said, dict):
        return text[:_FAULT]
    detail = said.get("message", said.get("detail", text))
    if isinstance(detail, list):
        issues = [f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in detail]
        detail = "\n".join(issues)
    return str(detail)[:_FAULT]


def _about(body: bytes) -> tuple[str, str, bool]:
    """The model that a body names, the beginning of what it asks last, and whether it wants a stream."""
    try:
        asked = from_json(body) if len(body) <= _READ else None
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        return "", "", False
    model = asked.get("model")
    messages = asked.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    text = last.get("content") if isinstance(last, dict) else asked.get("prompt", asked.get("input"))
    if isinstance(text, list):
        text = " ".join(part if isinstance(part, str) else _text_of(part) for part in text[:10])
    return (
        model[:_PREVIEW] if isinstance(model, str) else "",
        " ".join(text[: 4 * _PREVIEW].split())[:_PREVIEW] if isinstance(text, str) else "",
        asked.get("stream") is True,
    )


def _text_of(chunk: Any) -> str:
    text = chunk.get("text") if isinstance(chunk, dict) else None
    return text if isinstance(text, str) else ""
