"""Errors as Mistral's API words them: status, type, code and message, in the shapes that its clients know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from .engine import ContextLengthError, EngineError, MemoryShortError, UnsupportedError

if TYPE_CHECKING:
    # Imported where a response is made: the words alone need no web framework.
    from fastapi.responses import JSONResponse, Response

_MAX_ISSUES = 100

_MAX_INPUT = 1000
"""Size of a value that is shown in an error."""


class WireError(Exception):
    """An error answer. `param` names the field of the request that is to blame."""

    def __init__(
        self,
        status: int,
        type: str,
        code: str | None,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = {"object": "error", "message": message, "type": type, "param": param, "code": code}

    def response(self) -> JSONResponse:
        """The answer itself."""
        from fastapi.responses import JSONResponse  # noqa: PLC0415

        return JSONResponse(self.body, self.status, headers=self.headers)

    def json(self) -> str:
        """Its body, for an error that comes when the answer has begun."""
        return json.dumps(self.body)


def invalid_model(name: str) -> WireError:
    """Nobody here goes by this name."""
    return WireError(400, "invalid_model", "1500", f"Invalid model: {name}")


def no_such_model(name: str) -> WireError:
    """The same where the name is the path."""
    return WireError(404, "invalid_model", "1500", f"Invalid model: {name}")


def undeletable(name: str) -> WireError:
    """Only fine-tuned models can be deleted."""
    return WireError(403, "invalid_model", None, f"{name} is a base model and cannot be deleted.")


def message_order(message: str) -> WireError:
    """The messages do not make a conversation."""
    return WireError(400, "invalid_request_message_order", "3230", message)


def assistant_message(message: str) -> WireError:
    """An assistant message cannot be."""
    return WireError(400, "invalid_request_assistant_message", "3240", message)


def function_call(message: str) -> WireError:
    """A tool call, or the function that it names, cannot be."""
    return WireError(400, "invalid_function_call", "3280", message)


def invalid_args(param: str, message: str) -> WireError:
    """Fields that do not go together."""
    return WireError(400, "invalid_request_invalid_args", "3051", message, param=param)


def too_much_input(message: str) -> WireError:
    """More texts, or more tokens, than one embeddings request may hold."""
    return WireError(400, "invalid_request_prompt", "3210", message)


def not_supported(param: str, what: str) -> WireError:
    """A thing of the real API that this server cannot do; it is refused, never ignored."""
    return invalid_args(param, f"{param}: {what} is not supported by this server")


def not_ready() -> WireError:
    """The model is not loaded (yet)."""
    return WireError(503, "unreachable_backend", "1100", "The model is not loaded.")


def closing() -> WireError:
    """The server ends; what has not begun does not begin any more."""
    return WireError(503, "unreachable_backend", "1100", "Internal server error")


def no_upstream() -> WireError:
    """No server that runs the model answers as it should."""
    return WireError(503, "unreachable_backend", "1100", "The servers that run this model do not answer.")


def no_memory() -> WireError:
    """A request needs more memory than there is; another one may not."""
    return WireError(503, "unreachable_backend", "1100", "Memory is short.")


def full(seconds: int) -> WireError:
    """All slots are taken and the queue is full; in so many seconds it should have gone."""
    return WireError(
        429,
        "service_tier_capacity_exceeded",
        "3505",
        "Service tier capacity exceeded for this model.",
        headers={"retry-after": str(seconds)},
    )


def rate_limited(seconds: int) -> WireError:
    """The key has used up what it may use in a minute."""
    return WireError(429, "rate_limited", "1300", "Rate limit exceeded", headers={"retry-after": str(seconds)})


def internal() -> WireError:
    """Something broke here; the log has the rest."""
    return WireError(500, "internal_server_error", "3000", "Service unavailable.")


def of_engine(error: EngineError) -> WireError:
    """What the engine's failure is on the wire."""
    if isinstance(error, ContextLengthError | UnsupportedError):
        return WireError(400, "invalid_request_invalid_args", "3051", str(error))
    if isinstance(error, MemoryShortError):
        return WireError(503, "unreachable_backend", "1100", str(error))
    return WireError(500, "internal_server_error", "3000", f"The model failed: {error}")


def validation(issues: Sequence[Any]) -> Response:
    """422 for fields that are wrong."""
    from fastapi.responses import Response  # noqa: PLC0415

    return Response(validation_body(issues), 422, media_type="application/json")


def validation_body(issues: Sequence[Any]) -> bytes:
    """One entry for each field that is wrong, up to a hundred. Large values are not sent back."""
    shown = [{key: issue[key] for key in ("type", "loc", "msg") if key in issue} for issue in issues[:_MAX_ISSUES]]
    for entry, issue in zip(shown, issues, strict=False):
        if "input" in issue and _size(issue["input"]) <= _MAX_INPUT:
            entry["input"] = issue["input"]
    # An infinity among the inputs, such as 1e999, is no JSON.
    return to_json({"detail": shown}, inf_nan_mode="strings", fallback=repr)


def _size(value: Any) -> int:
    """Characters and values, as far as they are not too many; then some number that is."""
    size, ahead = 0, [value]
    while ahead and size <= _MAX_INPUT:
        one = ahead.pop()
        size += 1 + (len(one) if isinstance(one, str | list | dict) else 0)
        if isinstance(one, dict) and size <= _MAX_INPUT:
            ahead += [*one.keys(), *one.values()]
        elif isinstance(one, list) and size <= _MAX_INPUT:
            ahead += one
    return size


def no_route(request_id: str) -> JSONResponse:
    """404 for a path that is nobody's."""
    from fastapi.responses import JSONResponse  # noqa: PLC0415

    return JSONResponse({"message": "no Route matched with those values", "request_id": request_id}, 404)
