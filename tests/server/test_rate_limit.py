"""Limits of a minute, on a clock of the test's own."""

from __future__ import annotations

import anyio
import httpx
import pytest

from mistral_client.server.app import create_app
from mistral_client.server.loading import Loaded
from mistral_client.server.models import Models
from mistral_client.server.rate_limit import RateLimit, spend
from tests.server.test_app import EchoEngine, say


class Limited:
    def __init__(self, **limits):
        self.now = 1000.0
        self.cost = 0
        self.limited = RateLimit(self._app, clock=lambda: self.now, **limits)

    async def _app(self, scope, receive, send):
        spend(scope, self.cost)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def ask(self, key=""):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "state": {"client_key": key}}
        anyio.run(self.limited, scope, None, send)
        return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_requests():
    limited = Limited(requests=3)
    for left in ("2", "1", "0"):
        assert limited.ask() == (
            200,
            {"x-ratelimit-limit-req-minute": "3", "x-ratelimit-remaining-req-minute": left},
        )
    status, headers = limited.ask()
    assert (status, headers["retry-after"], headers["x-ratelimit-remaining-req-minute"]) == (429, "20", "0")
    assert limited.ask("another key")[0] == 200
    limited.now += 19
    assert limited.ask()[1]["retry-after"] == "1"
    limited.now += 1
    assert [limited.ask()[0], limited.ask()[0]] == [200, 429]


def test_tokens():
    limited = Limited(tokens=100)
    limited.cost = 130
    status, headers = limited.ask()
    assert (status, headers) == (
        200,
        {
            "x-ratelimit-limit-tokens-minute": "100",
            "x-ratelimit-remaining-tokens-minute": "0",
            "x-ratelimit-tokens-query-cost": "130",
        },
    )
    status, headers = limited.ask()
    assert (status, headers["retry-after"], headers["x-ratelimit-tokens-query-cost"]) == (429, "19", "0")
    limited.now += 19
    assert limited.ask()[0] == 200


def test_keys_that_used_nothing_lately_are_forgotten():
    limited = Limited(requests=10)
    for number in range(500):
        limited.ask(f"key {number}")
        limited.now += 6
    assert len(limited.limited._requests._full_at) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_chat_costs_its_tokens(stream):
    async def main():
        app = create_app(
            models=Models([Loaded("echo", "", EchoEngine())]), requests_per_minute=2, tokens_per_minute=10_000
        )
        body = {"model": "echo", "messages": say("one two three"), "stream": stream}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http,
        ):
            first = await http.post("/v1/chat/completions", json=body)
            assert "x-ratelimit-tokens-query-cost" in first.headers
            prompt = len("\0user\none two three\1\n\0assistant\n")
            cost = int(first.headers["x-ratelimit-tokens-query-cost"])
            assert cost in ({prompt, prompt + 3} if stream else {prompt + 3})
            second = await http.post("/v1/chat/completions", json=body)
            assert int(second.headers["x-ratelimit-remaining-tokens-minute"]) in range(
                10_000 - 2 * (prompt + 3), 10_000 - 2 * (prompt + 3) + 1700
            )
            third = await http.post("/v1/chat/completions", json=body)
            assert (third.status_code, third.json()["type"], third.json()["code"]) == (429, "rate_limited", "1300")
            assert third.json()["message"] == "Rate limit exceeded"
            assert 1 <= int(third.headers["retry-after"]) <= 30
            assert (await http.get("/health")).status_code == 200

    anyio.run(main)
