"""Requests to a server as streams: at given times whatever becomes of those before, or each after the one before."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import httpx

_WORDS = ("castles", "rivers", "winters", "harvests", "bridges", "kings", "sailors", "mountains", "letters", "gardens")
_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Planned:
    """A request: seconds from the beginning, a number that makes its prompt, words of that, and tokens of the answer.

    session: what keeps it with a replica.
    """

    at: float
    number: int
    words: int
    answer: int
    session: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """What became of one; times are seconds from the beginning, None for what did not come."""

    planned: Planned
    sent: float
    first: float | None
    end: float
    status: int
    replica: str = ""
    prompt: int = 0
    """Tokens, as the server counted them."""
    answer: int = 0

    @property
    def answered(self) -> bool:
        return self.status == 200 and self.first is not None


def open_loop(url: str, plan: Sequence[Planned]) -> list[Call]:
    """Send each at its time. Returns when all have come to their end."""

    async def all_of_them(client: httpx.AsyncClient, begun: float) -> list[Call]:
        return list(await asyncio.gather(*(_at_its_time(client, each, begun) for each in plan)))

    return asyncio.run(_with_client(url, all_of_them))


def closed_loop(url: str, workers: Iterable[Iterable[Planned]]) -> list[Call]:
    """Each worker sends its requests one after another."""

    async def one_by_one(client: httpx.AsyncClient, plan: Iterable[Planned], begun: float) -> list[Call]:
        return [await _ask(client, each, begun) for each in plan]

    async def all_of_them(client: httpx.AsyncClient, begun: float) -> list[Call]:
        done = await asyncio.gather(*(one_by_one(client, plan, begun) for plan in workers))
        return [call for calls in done for call in calls]

    return asyncio.run(_with_client(url, all_of_them))


def cards_seconds(url: str, count: int) -> list[float]:
    """Seconds of calls that a replica answers without its model: what is outside of that."""
    found = []
    with httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False) as client:
        for _ in range(count):
            begun = time.monotonic()
            client.get("/v1/models").raise_for_status()
            found.append(time.monotonic() - begun)
    return found


async def _with_client(url, work):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=256)
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, limits=limits, trust_env=False) as client:
        return await work(client, time.monotonic())


async def _at_its_time(client: httpx.AsyncClient, planned: Planned, begun: float) -> Call:
    await asyncio.sleep(max(0.0, begun + planned.at - time.monotonic()))
    return await _ask(client, planned, begun)


async def _ask(client: httpx.AsyncClient, planned: Planned, begun: float) -> Call:
    sent = time.monotonic() - begun
    body = {
        "model": "mistral-small",
        "messages": [{"role": "user", "content": _prompt(planned)}],
        "max_tokens": planned.answer,
        "temperature": 0,
        "stream": True,
    }
    first, last = None, {}
    headers = {"x-session-id": str(planned.session)}
    async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                last = line
                if first is None and '"content":""' not in line:
                    first = time.monotonic() - begun
    usage = json.loads(last[6:]).get("usage") if last else None
    usage = usage or {"prompt_tokens": 0, "completion_tokens": 0}
    return Call(
        planned,
        sent,
        first,
        time.monotonic() - begun,
        response.status_code,
        response.headers.get("x-served-by", ""),
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )


def _prompt(planned: Planned) -> str:
    """Different from the first word, so that no prompt begins as another one does."""
    words = [_WORDS[(planned.number + at * at) % len(_WORDS)] for at in range(planned.words)]
    return f"{planned.number}: a very long story about {' and '.join(words)}. Tell it whole, in every detail."
