"""JSON schemas of Python types, in the words that servers have in common. Performs no I/O."""

from __future__ import annotations

import re
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

_FORMATS = frozenset({"date", "date-time", "email", "ipv4", "time", "uuid"})

# What pydantic checks anyway, and some servers refuse a schema for.
_LEFT_OUT = frozenset(
    {
        *("contentEncoding", "contentMediaType", "contentSchema", "discriminator", "multipleOf", "propertyNames"),
        *("title", "uniqueItems"),
    }
)
_LOOKAROUND = re.compile(r"\(\?<?[=!]")

_OF_SCHEMAS = frozenset({"additionalProperties", "allOf", "anyOf", "items", "oneOf", "prefixItems"})
"""Keywords whose value is a schema, or a list of schemas."""

_OF_NAMED_SCHEMAS = frozenset({"$defs", "patternProperties", "properties"})
"""Keywords whose value holds a schema under each name."""


def schema_of(adapter: TypeAdapter[Any], *, all_required: bool = False) -> dict[str, Any]:
    """The schema of what the adapter reads. Objects have no other properties than those that it names.

    all_required: each of these is required, also one with a default. Servers that are strict insist on it.

    Raises `ValueError` for a type that JSON has no words for.
    """
    try:
        schema: dict[str, Any] = _in_common(adapter.json_schema(), all_required)
    except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
        raise ValueError(error.message) from None
    # A type that contains itself has its schema among the definitions.
    if "$ref" in schema:
        return {**schema["$defs"][schema["$ref"].removeprefix("#/$defs/")], "$defs": schema["$defs"]}
    return schema


def _in_common(schema: Any, all_required: bool) -> Any:
    if isinstance(schema, list):
        return [_in_common(one, all_required) for one in schema]
    if not isinstance(schema, dict):
        return schema
    common: dict[str, Any] = {}
    for keyword, value in schema.items():
        if _is_left_out(keyword, value) or (all_required and keyword == "default"):
            continue
        if keyword in _OF_NAMED_SCHEMAS:
            common[keyword] = {name: _in_common(one, all_required) for name, one in value.items()}
        elif keyword in _OF_SCHEMAS:
            # Which of several alternatives a value is of, pydantic finds out.
            common["anyOf" if keyword == "oneOf" else keyword] = _in_common(value, all_required)
        else:
            common[keyword] = value
    if "properties" in common:
        common.setdefault("additionalProperties", False)
        if all_required:
            common["required"] = [*common["properties"]]
    return common


def _is_left_out(keyword: str, value: Any) -> bool:
    if keyword == "format":
        return value not in _FORMATS
    if keyword == "pattern":
        return bool(_LOOKAROUND.search(value))
    return keyword in _LEFT_OUT
