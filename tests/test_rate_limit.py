"""Rate limits, as answers tell of them."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import anyio
import httpx
import pytest

from mistral_client import ChatCompletionResponse, MistralAsyncClient, MistralClient, RateLimit, RateLimitError
from mistral_client.server.app import create_app
from mistral_client.server.loading import Loaded
from mistral_client.server.models import Models

from .conftest import HELLO, chunk, http
from .server.test_app import EchoEngine
from .test_chunks import EVENTS
from .test_exchange import ANSWER

TODAY = {
    "x-ratelimit-limit-req-minute": "188",
    "x-ratelimit-remaining-req-minute": "187",
    "x-ratelimit-limit-tokens-minute": "625000",
    "x-ratelimit-remaining-tokens-minute": "624982",
    "x-ratelimit-tokens-query-cost": "18",
}
EARLY = {
    "ratelimitbysize-limit": "500000",
    "ratelimitbysize-remaining": "499900",
    "ratelimitbysize-reset": "28",
    "ratelimitbysize-query-cost": "100",
    "x-ratelimitbysize-limit-minute": "500000",
    "x-ratelimitbysize-limit-month": "1000000000",
}
SAID = RateLimit(188, 187, 625_000, 624_982, 18)
LINES = [f"{name}: {value}" for name, value in TODAY.items()]
BODIES = {
    "chat": ANSWER,
    "embeddings": {
        "id": "1",
        "object": "list",
        "data": [],
        "model": "m",
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    },
    "list_models": {"object": "list", "data": []},
}
ARGUMENTS = {"chat": (HELLO, "m"), "embeddings": ("m", "x"), "list_models": ()}


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (TODAY, SAID),
        (EARLY, RateLimit(limit_tokens=500_000, remaining_tokens=499_900, query_cost=100, reset=28)),
        (EARLY | TODAY, dataclasses.replace(SAID, reset=28)),
        ({"x-ratelimit-remaining-req-minute": "0"}, RateLimit(remaining_requests=0)),
        ({"x-ratelimit-limit-tokens-minute": "many", "ratelimitbysize-limit": "7"}, RateLimit(limit_tokens=7)),
        ({}, None),
        ({"x-ratelimit-limit-req-minute": "-1", "x-ratelimit-tokens-query-cost": "9" * 500}, None),
    ],
)
def test_what_headers_say(headers, said):
    assert RateLimit.of(headers) == said


@pytest.mark.parametrize("call", BODIES)
def test_answers_tell_it(make_client, raw_server, call):
    body = json.dumps(BODIES[call]).encode()
    server = raw_server([http(body, "200 OK", "application/json", *LINES), None], [http(body)])
    client = make_client("key", server.url)
    told, silent = (getattr(client, call)(*ARGUMENTS[call]) for _ in range(2))
    assert told.rate_limit == SAID
    assert told.rate_limit is told.rate_limit
    assert silent.rate_limit is None


def test_streams_tell_it(make_client, raw_server):
    head = "\r\n".join(
        ["HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked", *LINES, "", ""]
    )
    server = raw_server([head.encode(), *map(chunk, EVENTS), b"0\r\n\r\n"])
    stream = make_client("key", server.url).chat_stream(HELLO, "m")
    assert stream.rate_limit is None
    list(stream)
    assert stream.rate_limit == SAID


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_reference_server_tells_it(backend):
    async def main():
        app = create_app(
            models=Models([Loaded("echo", "", EchoEngine())]), requests_per_minute=5, tokens_per_minute=900
        )
        async with (
            app.router.lifespan_context(app),
            MistralAsyncClient("key", "http://127.0.0.1:1", transport=httpx.ASGITransport(app)) as client,
        ):
            answer = await client.chat(HELLO, "echo")
            told = answer.rate_limit
            assert (told.limit_requests, told.remaining_requests, told.limit_tokens) == (5, 4, 900)
            assert told.query_cost == answer.usage.total_tokens
            assert 900 - told.query_cost <= told.remaining_tokens < 900
            assert (await client.list_models()).rate_limit is None

    anyio.run(main, backend=backend)


def test_errors_tell_it(make_client, raw_server):
    server = raw_server([http(b"{}", "429 Too Many Requests", "application/json", *LINES)])
    with pytest.raises(RateLimitError) as raised:
        make_client("key", server.url, 0).chat(HELLO, "m")
    assert RateLimit.of(raised.value.headers) == SAID


@pytest.fixture(params=["asked before", "not asked before"])
def told(request, raw_server):
    server = raw_server([http(json.dumps(ANSWER).encode(), "200 OK", "application/json", *LINES, "x-other: secret")])
    with MistralClient("key", server.url) as client:
        answer = client.chat(HELLO, "m")
    if request.param == "asked before":
        assert answer.rate_limit == SAID
    return answer


def test_equal_bodies_are_equal(told):
    plain = ChatCompletionResponse.model_validate(ANSWER)
    assert plain.rate_limit is None
    assert told == plain
    assert plain == told
    other = ChatCompletionResponse.model_validate(ANSWER | {"id": "2"})
    other.came_with(TODAY)
    assert other != told


def test_it_does_not_go_back_onto_the_wire(told):
    assert told.model_dump(exclude_unset=True) == ANSWER
    assert json.loads(told.model_dump_json(exclude_unset=True)) == ANSWER
    assert dict(told).keys() == ANSWER.keys()
    assert "187" not in repr(told)
    assert "secret" not in f"{told!r} {vars(told)}"
    assert "rate" not in json.dumps(ChatCompletionResponse.model_json_schema())


@pytest.mark.parametrize(
    "copied",
    [
        lambda answer: pickle.loads(pickle.dumps(answer)),
        copy.copy,
        copy.deepcopy,
        lambda answer: answer.model_copy(update={"id": "1"}),
        lambda answer: answer.model_copy(deep=True),
    ],
)
def test_it_is_copied_and_pickled_with_its_answer(told, copied):
    assert copied(told).rate_limit == SAID
    assert copied(told) == told
    assert b"secret" not in pickle.dumps(told)


def test_a_field_of_that_name_is_kept_beside_it():
    body = ANSWER | {"rate_limit": 5}
    answer = ChatCompletionResponse.model_validate(body)
    answer.came_with(TODAY)
    assert answer.rate_limit == SAID
    assert answer.model_dump(exclude_unset=True) == body


def test_a_rate_limit_is_a_value():
    assert hash(SAID) == hash(RateLimit(188, 187, 625_000, 624_982, 18))
    with pytest.raises(dataclasses.FrozenInstanceError):
        SAID.reset = 1
