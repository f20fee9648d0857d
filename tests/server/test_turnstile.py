"""A full server refuses before it reads a body; what would not come so far is left to the application."""

from __future__ import annotations

import httpx
import pytest
from starlette.datastructures import Headers

from mistral_client.server import errors
from mistral_client.server.guard import Guard
from mistral_client.server.keys import Keys
from mistral_client.server.turnstile import Turnstile, early_refusal

JSON = {"host": "localhost", "content-type": "application/json", "content-length": "2"}


def crowded(key):
    return errors.full(7) if key != "served" else None


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})


def early(method="POST", path="/v1/chat/completions", guard=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    refused = early_refusal(guard or Guard(), crowded, method, path, Headers({**JSON, **named}))
    return None if refused is None else refused.status


def test_early_only_what_would_come_as_far_as_the_turnstile():
    assert early() == 429
    assert early("GET") is None
    assert early(path="/elsewhere") is None
    assert early(idempotency_key="k") is None, "its answer may be there already"
    assert early(origin="http://localhost") is None, "its refusal needs headers of its own"
    assert early(guard=Guard(hosts={"127.0.0.1"})) is None, "403"
    locked = Guard(Keys(["right"]))
    assert early(guard=locked) is None, "401"
    assert early(guard=locked, authorization="Bearer wrong") is None
    assert early(guard=locked, authorization="Bearer right") == 429


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_the_application():
    transport = httpx.ASGITransport(Turnstile(application, crowded))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        small = await http.post("/v1/embeddings", content=b"{}")
        assert (small.status_code, small.headers["retry-after"]) == (429, "7")
        assert "connection" not in small.headers
        large = await http.post("/v1/embeddings", content=b" " * 100_000)
        assert (large.status_code, large.headers["connection"]) == (429, "close")
        assert (await http.get("/v1/models")).text == "served"
        assert (await http.post("/v1/embeddings", headers={"idempotency-key": "k"})).text == "served"
