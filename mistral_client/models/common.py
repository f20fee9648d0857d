"""What the wire types have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from .rate_limit import RateLimit, Unread


class WireModel(BaseModel):
    """What a server sends.

    Required fields are enforced; fields that nobody here knows are kept, are attributes like the others, and go back
    unchanged when the object is sent.
    """

    # `model_` is pydantic's own prefix, and also how the API likes to begin a name.
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, protected_namespaces=())


class Answer(WireModel):
    """What a server sends in answer to a call."""

    @property
    def rate_limit(self) -> RateLimit | None:
        """What the server told of its rate limits along with this answer; None where it said nothing.

        It is no field: equal bodies are equal, and it does not go back onto the wire.
        """
        held: Unread | RateLimit | None = self.__dict__.get(_HELD)
        if isinstance(held, Unread):
            held = self.__dict__[_HELD] = RateLimit.of(held.headers)
        return held

    def came_with(self, headers: Mapping[str, str]) -> None:
        """The headers of the response. Not a private attribute: pydantic would compare those."""
        self.__dict__[_HELD] = Unread(headers)


_HELD = "_rate_limit"


class RequestModel(BaseModel):
    """What a client sends. A field that nobody here knows, or a value out of range, is refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True)


class Tagged(BaseModel):
    """A type whose `type` always goes on the wire, also when nobody set it. What is unset stays at home otherwise."""

    def model_post_init(self, _context: Any, /) -> None:
        self.model_fields_set.add("type")


def _finite(value: Any) -> Any:
    """Refuses NaN and the infinities at any depth: JSON has no word for them and pydantic would send null."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("NaN and infinity cannot be sent as JSON")
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return value


JSONObject = Annotated[dict[str, Any], AfterValidator(_finite)]
"""A JSON object of the caller's own making: a schema, metadata, parameters."""


class UsageInfo(WireModel):
    """Tokens that a call has read and written."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int | None = None
