"""The interface as a schema and as a page: what FastAPI does not see of it is said here."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ..models.chat_completion import ChatCompletionStreamResponse

_TEXT: dict[str, Any] = {"type": "string"}
_MAYBE_TEXT: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def _object(*required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required]}


SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": _object(
        "object",
        "message",
        "type",
        "param",
        "code",
        object={"const": "error"},
        message=_TEXT,
        type=_TEXT,
        param=_MAYBE_TEXT,
        code=_MAYBE_TEXT,
    ),
    "Detail": _object("detail", detail=_TEXT),
    "Issues": _object(
        "detail",
        detail={
            "type": "array",
            "items": _object(
                "type",
                "loc",
                "msg",
                type=_TEXT,
                loc={"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                msg=_TEXT,
                input={},
            ),
        },
    ),
    "NoRoute": _object("message", "request_id", message=_TEXT, request_id=_TEXT),
}

_ALWAYS = {
    400: ("The request cannot be served.", ("Error", "Detail")),
    401: ("The key is missing or wrong.", ("Detail",)),
    403: ("Not allowed, from there or at all.", ("Error", "Detail")),
    404: ("Nothing is there.", ("Error", "NoRoute")),
    405: ("Not with this method.", ("Detail",)),
    429: ("The server is full, or asked too often by this key.", ("Error",)),
    500: ("Something broke.", ("Error",)),
    503: ("The model is not loaded, or the server is stopping.", ("Error",)),
}
_WITH_A_BODY = {
    413: ("The body is too large.", ("Error", "Detail")),
    415: ("The body is not plain JSON.", ("Error", "Detail")),
    422: ("Fields are wrong or unknown.", ("Issues",)),
}
_REF = "#/components/schemas/{model}"
_EVENTS: list[dict[str, Any]] = [
    {"$ref": _REF.format(model=ChatCompletionStreamResponse.__name__)},
    {"$ref": _REF.format(model="Error")},
    {"const": "[DONE]"},
]
_STREAMS = {
    "text/event-stream": {
        "schema": {
            "type": "string",
            "description": (
                "Events of one `data:` line each: the chunks of the answer as JSON, then `[DONE]`. If the model fails "
                "under way, an event of the type `error` ends the stream."
            ),
            "contentMediaType": "text/event-stream",
            "contentSchema": {"type": "array", "items": {"anyOf": _EVENTS}},
        }
    }
}
_NAMED = {
    "mistral-correlation-id": {
        "description": "The name of this exchange.",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    }
}
_RETRY_AFTER = {"retry-after": {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}}


def described(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """The function that makes the schema of an application, once; to be set as its `openapi`."""

    def schema() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=list(app.routes)
            )
            chunk = ChatCompletionStreamResponse.model_json_schema(ref_template=_REF, mode="serialization")
            components = made.setdefault("components", {})
            components["schemas"] = {
                **chunk.pop("$defs"),
                ChatCompletionStreamResponse.__name__: chunk,
                **components.get("schemas", {}),
                **SCHEMAS,
            }
            for _, _, operation in _operations(made):
                _complete(operation)
            app.openapi_schema = made
        return app.openapi_schema

    return schema


def page(schema: dict[str, Any]) -> str:
    """The schema as a page without scripts, which needs nothing but itself."""
    parts = [_HEAD, f"<h1>{html.escape(schema['info']['title'])}</h1><p>{html.escape(schema['info']['description'])}"]
    parts.append("<p>The same for programs: <a href=openapi.json>openapi.json</a>")
    for path, method, operation in _operations(schema):
        said = html.escape(operation.get("description") or operation.get("summary", ""))
        parts.append(f"<h2 id='{operation['operationId']}'>{method.upper()} {html.escape(path)}</h2><p>{said}")
        body = operation.get("requestBody")
        if body:
            parts.append(f"<p>Body: {_types(body['content'])}")
        rows = [
            f"<tr><td>{status}<td>{html.escape(reply['description'])}<td>{_types(reply.get('content', {}))}"
            for status, reply in operation["responses"].items()
        ]
        parts.append(f"<table><tr><th>status<th><th>body{''.join(rows)}</table>")
    for name, model in sorted(schema["components"]["schemas"].items()):
        shown = html.escape(json.dumps(model, indent=1, ensure_ascii=False))
        parts.append(f"<details id='{name}'><summary>{name}</summary><pre>{shown}</pre></details>")
    return "\n".join(parts)


_HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Routes</title><style>"
    "body{font:16px/1.4 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{font:600 1.1rem monospace;margin-top:2rem}td,th{text-align:left;padding:.1rem 1rem .1rem 0}"
    "</style>"
)


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _complete(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    body = "requestBody" in operation
    for status, (description, names) in sorted({**_ALWAYS, **(_WITH_A_BODY if body else {})}.items()):
        refs = [{"$ref": _REF.format(model=name)} for name in names]
        content = {"application/json": {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}}
        responses[str(status)] = {"description": description, "content": content}
    if not body:
        responses.pop("422", None)  # a path is any text
    if "stream" in operation.get("tags", ()):
        responses["200"]["content"].update(_STREAMS)
    for status, response in responses.items():
        response["headers"] = {**_NAMED, **(_RETRY_AFTER if status == "429" else {})}


def _types(content: dict[str, Any]) -> str:
    """Links to the types of a body."""
    shown = []
    for media_type, described_as in content.items():
        schema = described_as.get("schema", {})
        schema = schema.get("contentSchema", {}).get("items", schema)
        refs = [one["$ref"].rpartition("/")[2] for one in schema.get("anyOf", [schema]) if "$ref" in one]
        links = " or ".join(f"<a href='#{name}'>{name}</a>" for name in refs)
        shown.append(f"<code>{media_type}</code> {links}")
    return ", ".join(shown)
