"""The schema says what the server does: every reply of a list of bad calls is in it, and the page needs no network."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from mistral_client.server.loading import Loaded
from mistral_client.server.local import LocalServer, SyncTransport

from .test_app import EchoEngine

CHAT = {"model": "mistral-tiny", "messages": [{"role": "user", "content": "hi"}]}
FIM = {"model": "mistral-tiny", "prompt": "hi"}


@pytest.fixture(scope="module")
def http():
    server = LocalServer(lambda: Loaded("echo", "Repeats.", EchoEngine()))
    server.start()
    with httpx.Client(transport=SyncTransport(server), base_url="http://local") as client:
        yield client
    server.close()


@pytest.fixture(scope="module")
def schema(http):
    return http.get("/openapi.json").json()


CALLS = {
    "chat": ("POST", "/v1/chat/completions", CHAT, 200),
    "stream": ("POST", "/v1/chat/completions", {**CHAT, "stream": True}, 200),
    "completion": ("POST", "/v1/fim/completions", FIM, 200),
    "completion stream": ("POST", "/v1/fim/completions", {**FIM, "stream": True}, 200),
    "models": ("GET", "/v1/models", None, 200),
    "model": ("GET", "/v1/models/echo", None, 200),
    "no such model": ("GET", "/v1/models/nope", None, 404),
    "not to be deleted": ("DELETE", "/v1/models/echo", None, 403),
    "nothing to delete": ("DELETE", "/v1/models/nope", None, 404),
    "unknown model": ("POST", "/v1/chat/completions", {**CHAT, "model": "x"}, 400),
    "no suffixes": ("POST", "/v1/fim/completions", {**FIM, "suffix": "x"}, 400),
    "too long": ("POST", "/v1/fim/completions", {**FIM, "prompt": "x" * 601}, 400),
    "unknown field": ("POST", "/v1/chat/completions", {**CHAT, "x": 1}, 422),
    "no messages": ("POST", "/v1/chat/completions", {**CHAT, "messages": []}, 422),
    "not JSON": ("POST", "/v1/chat/completions", b"{", 400),
    "no body": ("POST", "/v1/embeddings", b"", 422),
    "no input": ("POST", "/v1/embeddings", {"model": "mistral-embed"}, 422),
    "crash": ("POST", "/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": "crash"}]}, 500),
    "bug": ("POST", "/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": "bug"}]}, 500),
}


def fits(value, schema, types):
    """Whether a value is of a schema, as far as the keywords go that the errors' schemas use."""
    if "$ref" in schema:
        return fits(value, types[schema["$ref"].rpartition("/")[2]], types)
    if "anyOf" in schema:
        return any(fits(value, one, types) for one in schema["anyOf"])
    if "const" in schema:
        return value == schema["const"]
    kind = {"string": str, "integer": int, "array": list, "object": dict, "null": type(None)}.get(schema.get("type"))
    if kind is not None and not isinstance(value, kind):
        return False
    if kind is list:
        return all(fits(item, schema.get("items", {}), types) for item in value)
    if kind is dict:
        properties = schema.get("properties", {})
        return set(schema.get("required", ())) <= set(value) and all(
            fits(item, properties[name], types) for name, item in value.items() if name in properties
        )
    return True


@pytest.mark.parametrize(("method", "path", "body", "status"), CALLS.values(), ids=CALLS)
def test_every_reply_is_in_the_schema(http, schema, method, path, body, status):
    content = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
    reply = http.request(method, path, content=content, headers={"content-type": "application/json"})
    assert reply.status_code == status
    written = path if path in schema["paths"] else "/v1/models/{model_id}"
    described = schema["paths"][written][method.lower()]["responses"][str(status)]
    media_type = reply.headers["content-type"].partition(";")[0]
    assert media_type in described["content"]
    assert set(described["headers"]) - {"retry-after"} <= set(reply.headers)
    if status >= 400:
        form = described["content"][media_type]["schema"]
        assert fits(reply.json(), form, schema["components"]["schemas"]), reply.json()
        assert not fits({"surprise": 1}, form, schema["components"]["schemas"])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/fim/completions"])
def test_every_event_of_a_stream_is_in_the_schema(http, schema, path):
    asks = {"prompt": "1 2"} if "fim" in path else {"messages": [{"role": "user", "content": "1 2"}]}
    reply = http.post(path, json={"model": "mistral-tiny", "stream": True, **asks})
    described = schema["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    form, types = described["contentSchema"]["items"], schema["components"]["schemas"]
    *chunks, done = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert len(chunks) > 2
    assert all(fits(json.loads(chunk), form, types) for chunk in chunks)
    assert fits(done, form, types)
    assert not fits({"surprise": 1}, form, types)


def test_no_route_is_left_out(schema):
    operations = {(path, method) for path, methods in schema["paths"].items() for method in methods}
    assert operations >= {
        ("/health", "get"),
        ("/v1/models", "get"),
        ("/v1/models/{model_id}", "get"),
        ("/v1/models/{model_id}", "delete"),
        ("/v1/chat/completions", "post"),
        ("/v1/fim/completions", "post"),
        ("/v1/embeddings", "post"),
    }
    for path, method in operations:
        assert {"400", "401", "404", "429", "500", "503"} <= set(schema["paths"][path][method]["responses"])


def test_every_reference_leads_somewhere(schema):
    names = re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(schema))
    assert set(names) <= set(schema["components"]["schemas"])


def test_the_page_needs_nothing_but_itself(http, schema):
    page = http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in page.text
    assert not re.findall(r"https?://", re.sub(r"<pre>.*?</pre>", "", page.text, flags=re.DOTALL))
    for path in schema["paths"]:
        assert path in page.text
    links = set(re.findall(r"href='#([^']+)'", page.text))
    assert links
    assert links <= set(re.findall(r"id='([^']+)'", page.text))


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"model": "mistral-tiny", "messages": [{"role": "user", "role": "user"}]}', "'role'"),
        (b'{"model": "a", "m\\u006fdel": "b"}', "'model'"),
        (b'\xef\xbb\xbf{"model": "a"}', "line 1 column 1"),
        (b'{"model": "\xff"}', "line 1 column"),
        (b'{"model": NaN}', "line 1 column"),
    ],
)
def test_a_body_that_means_two_things_is_refused(http, body, where):
    for path in ("/v1/chat/completions", "/v1/fim/completions", "/v1/embeddings"):
        reply = http.post(path, content=body, headers={"content-type": "application/json"})
        assert reply.status_code == 400
        assert where in reply.json()["detail"]
