"""The call style of later clients: what goes out, what comes back, and what does not happen."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import json
import logging
import subprocess
import sys
import traceback
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from pydantic import BaseModel

import mistral_client
from mistral_client import (
    UNSET,
    ArgumentError,
    AssistantMessage,
    AuthenticationError,
    BackoffStrategy,
    ChatCompletionRequest,
    ChatMessage,
    ConfigurationError,
    EmbeddingRequest,
    FIMCompletionRequest,
    Hooks,
    HTTPValidationError,
    InvalidRequestError,
    Mistral,
    MistralClient,
    MistralError,
    NoResponseError,
    ProtocolError,
    RateLimitError,
    ResponseParsingError,
    ResponseValidationError,
    RetryConfig,
    RetryPolicy,
    SDKError,
    ServerError,
    StreamInterrupted,
    SystemMessage,
    ToolMessage,
    UserMessage,
    exceptions,
    models,
    modern,
)
from mistral_client._calls import CallOptions, ChatOptions, EmbeddingOptions, FIMOptions, SamplingOptions

from .conftest import HELLO, BlockingStream, chunk, chunked_head, http
from .test_chunks import EVENTS, TEXT, event
from .test_clients import KEY, OK, STREAM, UNAUTHORIZED, header
from .test_exchange import ANSWER

ASKED = {"model": "m", "messages": HELLO}
BUSY = http(b'{"message":"busy"}', "503 Service Unavailable")
SOON = RetryConfig("backoff", BackoffStrategy(1, 5, 1.5, 60_000), True)
EMBEDDED = {
    "object": "list",
    "model": "e",
    "data": [{"object": "embedding", "embedding": "AACAPwAAAMA=", "index": 0}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}


class Awaited:
    """The asynchronous half of a `Mistral` seen through a portal, so that one test body serves both."""

    def __init__(self, portal, whole, part=None):
        self.portal, self.whole, self.part = portal, whole, part

    def __getattr__(self, name):
        if self.part is None:
            value = getattr(self.whole, name)
            return value if callable(value) else Awaited(self.portal, self.whole, value)
        method = getattr(self.part, name + "_async")

        def call(*args, **options):
            result = self.portal.call(lambda: method(*args, **options))
            return BlockingStream(self.portal, result) if isinstance(result, modern.EventStreamAsync) else result

        return call

    def close(self):
        self.portal.call(self.whole.aclose)


@pytest.fixture
def mistral(flavour):
    """Makes clients of one flavour; they are closed with the test."""
    with contextlib.ExitStack() as closing:
        portal = None if flavour == "sync" else closing.enter_context(start_blocking_portal(flavour))

        def make(*args, **options):
            client = Mistral(*args, **options)
            client = client if portal is None else Awaited(portal, client)
            closing.callback(client.close)
            return client

        yield make


def sent(request):
    return json.loads(request.partition(b"\r\n\r\n")[2])


def line(request):
    return request.split(b"\r\n")[0].decode()


# --- what goes out ---


def test_complete(mistral, raw_server):
    server = raw_server([OK, None])
    client = mistral(KEY, server_url=server.url + "/v1/")
    messages = [
        SystemMessage(content="short"),
        UserMessage(content=[models.TextChunk(text="what?"), {"type": "image_url", "image_url": "data:,"}]),
        AssistantMessage(content="", tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "{}"}}]),
        ToolMessage(content="7", tool_call_id="a", name="f"),
        ChatMessage(role="user", content="go on"),
        {"role": "assistant", "content": "It", "prefix": True},
    ]
    answer = client.chat.complete(
        model="m",
        messages=messages,
        temperature=0.5,
        tools=[models.Tool(function=models.Function(name="f", parameters={}))],
        tool_choice=models.ToolChoice(function=models.FunctionName(name="f")),
        response_format=models.ResponseFormat(type="text"),
        stop=["x"],
        stream=False,
    )
    assert answer.choices[0].message.content == "hi"
    assert line(server.requests[0]) == "POST /v1/chat/completions HTTP/1.1"
    assert header(server.requests[0], "authorization") == f"Bearer {KEY}"
    assert sent(server.requests[0]) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "short"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": "data:,"}],
            },
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "7", "tool_call_id": "a", "name": "f"},
            {"role": "user", "content": "go on"},
            {"role": "assistant", "content": "It", "prefix": True},
        ],
        "temperature": 0.5,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "text"},
        "stop": ["x"],
    }


def test_both_styles_send_the_same(raw_server):
    server = raw_server([OK, None])
    options = {"temperature": 0.5, "max_tokens": 3, "stop": "x", "n": 1, "safe_prompt": True}
    with MistralClient(KEY, server.url) as early, Mistral(KEY, server_url=server.url) as later:
        early.chat(model="m", messages=[ChatMessage(role="user", content="hello")], **options)
        later.chat.complete(model="m", messages=[UserMessage(content="hello")], **options)
    one, other = (request.lower().split(b"\r\n") for request in server.requests)
    assert [each for each in one if b"idempotency" not in each] == [
        each for each in other if b"idempotency" not in each
    ]


NULLABLE = sorted(ChatOptions.__optional_keys__ - CallOptions.__optional_keys__ - {"safe_mode"} - {
    "response_format", "tool_choice", "prediction", "parallel_tool_calls", "safe_prompt",
})  # fmt: skip


def test_unset_is_left_out_and_none_is_null_where_later_clients_send_it(mistral, raw_server):
    server = raw_server([OK, None])
    client = mistral(KEY, server_url=server.url)
    every = ChatOptions.__optional_keys__ - CallOptions.__optional_keys__
    client.chat.complete(**ASKED, **dict.fromkeys(every, UNSET), stream=UNSET, retries=UNSET)
    client.chat.complete(**ASKED, **dict.fromkeys(every, None), stream=None, server_url=None, timeout_ms=None)
    client.fim.complete(model="m", prompt="a", suffix=None, temperature=None)
    client.fim.complete(model="m", prompt="a", suffix=UNSET)
    assert [sent(request) for request in server.requests] == [
        ASKED,
        ASKED | dict.fromkeys(NULLABLE),
        {"model": "m", "prompt": "a", "suffix": None, "temperature": None},
        {"model": "m", "prompt": "a"},
    ]


def test_none_for_an_embedding(mistral, raw_server):
    server = raw_server([http(json.dumps(EMBEDDED).encode()), None])
    client = mistral(KEY, server_url=server.url)
    client.embeddings.create(model="e", inputs=["a"], output_dimension=None, output_dtype=None, metadata=None)
    assert sent(server.requests[0]) == {"model": "e", "input": ["a"], "output_dimension": None, "metadata": None}


def test_null_keeps_what_else_goes_into_the_body(mistral, raw_server):
    server = raw_server([OK, None])
    mistral(KEY, server_url=server.url).chat.complete(**ASKED, n=None, extra_body={"mine": 1, "n": 2})
    assert sent(server.requests[0]) == ASKED | {"mine": 1, "n": 2}


def test_an_argument_that_is_wrong_sends_nothing(mistral, raw_server):
    server = raw_server([OK])
    client = mistral(KEY, server_url=server.url)
    for name, value in {
        "temperature": float("nan"),
        "metadata": {"a": [float("inf")]},
        "nonsense": 1,
        "timeout_ms": 0,
        "http_headers": {"a": "é"},
        "stream": True,
    }.items():
        with pytest.raises(ArgumentError, match=name if name != "http_headers" else "headers"):
            client.chat.complete(**ASKED, **{name: value})
    with pytest.raises(ArgumentError, match="stream"):
        client.chat.stream(**ASKED, stream=False)
    with pytest.raises(ArgumentError, match="role"):
        client.chat.complete(model="m", messages=[{"role": "developer", "content": "x"}])
    with pytest.raises(ValueError, match="temperature"):  # as pydantic's error, in later clients, was one
        client.chat.complete(**ASKED, temperature=2)
    assert server.requests == []


def test_options_of_one_call(mistral, raw_server):
    there, elsewhere = raw_server([OK, None]), raw_server([OK, None])
    client = mistral(KEY, server_url=there.url)
    client.chat.complete(**ASKED, http_headers={"x-mine": "1", "authorization": "Bearer other"})
    client.chat.complete(**ASKED, server_url=elsewhere.url)
    client.chat.complete(**ASKED, server_url=elsewhere.url)
    assert [header(request, "x-mine") for request in there.requests] == ["1"]
    assert header(there.requests[0], "authorization") == "Bearer other"
    assert (len(elsewhere.requests), elsewhere.connections) == (2, 1)
    assert header(elsewhere.requests[0], "authorization") == f"Bearer {KEY}"


def test_timeouts_are_milliseconds(mistral, raw_server):
    server = raw_server([30.0])
    slow = mistral(KEY, server_url=server.url, timeout_ms=60, retry_config=None)
    patient = mistral(KEY, server_url=server.url, retry_config=None)
    with pytest.raises(NoResponseError, match="in time"):
        slow.chat.complete(**ASKED)
    with pytest.raises(TimeoutError):
        slow.chat.complete(**ASKED, timeout_ms=None)
    with pytest.raises(TimeoutError):
        patient.chat.complete(**ASKED, timeout_ms=60)


def test_a_ready_http_client_is_used_with_the_timeout_that_is_asked_for():
    seen = []

    def answer(request):
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    sync = httpx.Client(transport=httpx.MockTransport(answer), headers={"x-own": "1"})
    asynchronous = httpx.AsyncClient(transport=httpx.MockTransport(answer), timeout=7)
    with Mistral(KEY, client=sync, async_client=asynchronous, timeout_ms=1500) as client:
        client.chat.complete(**ASKED)
        asyncio.run(client.chat.complete_async(**ASKED, timeout_ms=2500))
    assert seen[0].headers["x-own"] == "1"
    assert [round(request.extensions["timeout"]["read"] * 2) for request in seen] == [3, 5]
    assert not sync.is_closed, "it is somebody else's"


def test_the_key_may_be_a_function(mistral, raw_server):
    server = raw_server([BUSY, None], [OK, None])
    keys = iter(["one", "two", "three", "four"])
    client = mistral(lambda: next(keys), server_url=server.url)
    client.chat.complete(**ASKED, retries=SOON)
    client.chat.complete(**ASKED)
    client.chat.complete(**ASKED, http_headers={"Authorization": "Bearer mine"})
    wanted = ["Bearer one", "Bearer two", "Bearer three", "Bearer mine"]
    assert [header(request, "authorization") for request in server.requests] == wanted


def test_a_function_that_gives_no_key(mistral, raw_server):
    server = raw_server([OK])
    for wrong in ("new\nline", "", None, 7):
        with pytest.raises(ConfigurationError, match="API key"):
            mistral(lambda key=wrong: key, server_url=server.url).chat.complete(**ASKED)
    assert server.requests == []


# --- tried again ---


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        ({}, 3),
        ({"retries": UNSET}, 3),
        ({"retries": None}, 1),
        ({"retries": RetryConfig("none", BackoffStrategy(1, 2, 1, 1), True)}, 1),
        ({"retries": SOON}, 5),
        ({"retries": RetryConfig("backoff", BackoffStrategy(1, 2, 1, 1), True)}, 1),
        ({"retries": RetryConfig("backoff", BackoffStrategy(1, 5, 1.5, 60_000), True, ["429"])}, 1),
        ({"retries": RetryConfig("backoff", BackoffStrategy(1, 5, 1.5, 60_000), True, ["503"])}, 5),
    ],
)
def test_retries_of_one_call(mistral, raw_server, options, requests):
    """Five are all that the budget of a new client has."""
    server = raw_server([0.01, BUSY, None])
    with pytest.raises(ServerError):
        mistral(KEY, server_url=server.url).chat.complete(**ASKED, **options)
    assert len(server.requests) == requests


def test_retries_of_a_client_and_those_of_a_call_before_them(mistral, raw_server):
    server = raw_server([BUSY, None])
    client = mistral(KEY, server_url=server.url, retry_config=SOON)
    with pytest.raises(ServerError):
        client.chat.complete(**ASKED, retries=None)
    assert len(server.requests) == 1
    with pytest.raises(ServerError):
        client.chat.complete(**ASKED)
    assert len(server.requests) == 6


@pytest.mark.parametrize(("also", "requests"), [(True, 2), (False, 1)])
def test_connections_that_break_are_retried_if_asked_for(mistral, raw_server, also, requests):
    server = raw_server([http(b"{}")[:20]], [OK, None])
    config = RetryConfig("backoff", BackoffStrategy(1, 5, 1.5, 60_000), also)
    with contextlib.nullcontext() if also else pytest.raises(NoResponseError):
        mistral(KEY, server_url=server.url).chat.complete(**ASKED, retries=config)
    assert len(server.requests) == requests


def test_the_policy_in_words_of_later_clients():
    config = RetryConfig("backoff", BackoffStrategy(500, 60_000, 1.5, 3_600_000, jitter_ms=10), False, [429, "503"])
    assert config == RetryPolicy(
        sys.maxsize, 0.5, 60.0, factor=1.5, within=3600.0, connections=False, status_codes=frozenset({429, 503})
    )
    for wrong in ({"initial_interval": -1}, {"exponent": 0}, {"exponent": 1e5}, {"max_elapsed_time": -1}):
        with pytest.raises(ArgumentError, match="BackoffStrategy"):
            BackoffStrategy(**{"initial_interval": 1, "max_interval": 1, "exponent": 1, "max_elapsed_time": 1} | wrong)
    with pytest.raises(ArgumentError, match="'twice'"):
        RetryConfig("twice", BackoffStrategy(1, 1, 1, 1), True)


# --- streams ---


def test_stream(mistral, raw_server):
    server = raw_server([*STREAM, None])
    client = mistral(KEY, server_url=server.url)
    with client.chat.stream(**ASKED, stream=True) as stream:
        assert len(server.requests) == 1, "the request is sent at once"
        events = [*stream]
    assert "".join(each.data.choices[0].delta.content or "" for each in events) == TEXT
    assert {type(each.data) for each in events} == {models.CompletionChunk}
    assert stream.usage.total_tokens == 6
    assert client.chat.stream(**ASKED).text() == TEXT
    assert client.chat.stream(**ASKED).final_response().choices[0].message.content == TEXT
    assert (sent(server.requests[0])["stream"], server.connections) == (True, 1)


def test_an_event_holds_the_chunk_itself():
    chunks = [object(), object()]
    assert [each.data for each in modern.EventStream(iter(chunks))] == chunks


def test_errors_of_a_stream_are_raised_by_the_call(mistral, raw_server):
    server = raw_server([UNAUTHORIZED])
    with pytest.raises(SDKError, match="Unauthorized") as raised:
        mistral(KEY, server_url=server.url).chat.stream(**ASKED)
    assert raised.value.status_code == 401


def test_a_stream_that_is_closed_gives_its_connection_up(mistral, raw_server):
    server = raw_server([chunked_head(), chunk(EVENTS[0]), chunk(EVENTS[1]), 30.0])
    stream = mistral(KEY, server_url=server.url).chat.stream(**ASKED)
    assert next(stream).data.choices[0].delta.role == "assistant"
    stream.close()
    assert [*stream] == []


def test_a_stream_that_is_cut_keeps_its_text(mistral, raw_server):
    server = raw_server([chunked_head(), *map(chunk, EVENTS[:2])])
    with pytest.raises(StreamInterrupted) as raised, mistral(KEY, server_url=server.url).chat.stream(**ASKED) as stream:
        list(stream)
    assert raised.value.text == "Camem"


def test_headers_of_a_deprecated_model_break_nothing(mistral, raw_server, caplog):
    told = "x-model-deprecation-timestamp: 2026-12-31T00:00:00Z"
    head = chunked_head().replace(b"\r\n\r\n", f"\r\n{told}\r\n\r\n".encode())
    server = raw_server(
        [head, *STREAM[1:], None], [http(json.dumps(ANSWER).encode(), "200 OK", "application/json", told)]
    )
    client = mistral(KEY, server_url=server.url)
    with caplog.at_level(logging.DEBUG), client.chat.stream(**ASKED) as stream:
        assert stream.text() == TEXT
    assert stream.response_headers["x-model-deprecation-timestamp"] == "2026-12-31T00:00:00Z"
    assert client.chat.complete(**ASKED).choices[0].message.content == "hi"


def test_completions_of_code(mistral, raw_server):
    server = raw_server([OK, None], [*STREAM, None])
    client = mistral(KEY, server_url=server.url)
    assert client.fim.complete(model="c", prompt="def", suffix="x", max_tokens=9).choices[0].message.content == "hi"
    assert "".join(each.data.choices[0].delta.content for each in client.fim.stream(model="c", prompt="def")) == TEXT
    assert {line(request) for request in server.requests} == {"POST /v1/fim/completions HTTP/1.1"}
    assert sent(server.requests[0]) == {"model": "c", "prompt": "def", "suffix": "x", "max_tokens": 9}


# --- answers ---


class City(BaseModel):
    name: str
    people: int


def message(content, finish_reason="stop", **more):
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": content, **more}}
    return http(json.dumps(ANSWER | {"choices": [choice]}).encode())


def test_parse(mistral, raw_server):
    server = raw_server([message('```json\n{"name": "Paris", "people": 2}\n```'), None])
    client = mistral(KEY, server_url=server.url)
    answer = client.chat.parse(response_format=City, **ASKED, temperature=0)
    assert answer.parsed == answer.choices[0].message.parsed == City(name="Paris", people=2)
    assert "parsed" not in answer.model_dump_json()
    client.chat.complete(model="m", messages=[*HELLO, answer.choices[0].message])
    asked, again = map(sent, server.requests)
    assert asked["response_format"]["json_schema"]["name"] == "City"
    assert again["messages"][1] == {"role": "assistant", "content": '```json\n{"name": "Paris", "people": 2}\n```'}
    assert repr(client.chat.complete(**ASKED).choices[0].message).count("parsed") == 0


def test_parse_takes_what_pydantic_can_describe(mistral, raw_server):
    server = raw_server([message('{"value": [1, 2]}'), None])
    assert mistral(KEY, server_url=server.url).chat.parse(list[int], **ASKED).choices[0].message.parsed == [1, 2]


def test_parse_keeps_what_arrived(mistral, raw_server):
    server = raw_server([message('{"name": "Par', "length"), None])
    with pytest.raises(ResponseParsingError, match="cut") as raised:
        mistral(KEY, server_url=server.url).chat.parse(City, **ASKED)
    error = raised.value
    assert (error.text, error.finish_reason) == ('{"name": "Par', "length")
    assert error.usage["total_tokens"] == ANSWER["usage"]["total_tokens"]
    assert isinstance(error, ValueError), "as those of json and pydantic, in later clients, were"


def test_parse_stream(mistral, raw_server):
    pieces = ['{"name": ', '"Paris", "people"', ": 2}"]
    events = [event({"content": piece}) for piece in pieces] + [event({"content": ""}, "stop")]
    server = raw_server([chunked_head(), *map(chunk, events), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n", None])
    client = mistral(KEY, server_url=server.url)
    stream = client.chat.parse_stream(City, **ASKED)
    assert "".join(each.data.choices[0].delta.content for each in stream) == "".join(pieces)
    assert stream.final_response().parsed == City(name="Paris", people=2)
    assert [*client.chat.parse_stream(response_format=City, **ASKED).partials()][-1] == {"name": "Paris", "people": 2}


def test_chunks_that_nobody_knows_go_back_as_they_came(mistral, raw_server):
    content = [{"type": "hologram", "depth": 3, "raw": {"a": None}}, {"type": "text", "text": "hi"}]
    server = raw_server([message(content), None])
    client = mistral(KEY, server_url=server.url)
    said = client.chat.complete(**ASKED).choices[0].message
    assert isinstance(said.content[0], models.UnknownContentChunk)
    client.chat.complete(model="m", messages=[*HELLO, said])
    assert sent(server.requests[1])["messages"][1]["content"] == content


def test_models(mistral, raw_server):
    card = {"id": "a", "object": "model", "capabilities": {"completion_chat": True, "vision": False}}
    early = {"id": "b", "object": "model", "permission": []}
    listed = http(json.dumps({"object": "list", "data": [card, early]}).encode())
    deleted = http(b'{"id": "b", "object": "model", "deleted": true}')
    server = raw_server([listed, None], [listed, None], [http(json.dumps(card).encode()), None], [deleted, None])
    client = mistral(KEY, server_url=server.url)
    cards = client.models.list().data
    assert [each.id for each in cards if each.capabilities.completion_chat] == ["a"]
    assert (cards[0].capabilities["vision"], cards[0].capabilities.reasoning) == (False, False)
    assert copy.deepcopy(cards[0]).capabilities == card["capabilities"]
    client.models.list(provider="me & you", model="a", http_headers={"x-mine": "1"})
    assert client.models.retrieve(model_id="a/b").id == "a"
    assert client.models.delete(model_id="b").deleted
    assert [line(request).rpartition(" ")[0] for request in server.requests] == [
        "GET /v1/models",
        "GET /v1/models?provider=me+%26+you&model=a",
        "GET /v1/models/a%2Fb",
        "DELETE /v1/models/b",
    ]


def test_embeddings_in_base64(mistral, raw_server):
    server = raw_server([http(json.dumps(EMBEDDED).encode()), None])
    answer = mistral(KEY, server_url=server.url).embeddings.create(model="e", inputs="a", encoding_format="base64")
    assert answer.to_numpy().tolist() == [[1.0, -2.0]]
    assert sent(server.requests[0]) == {"model": "e", "input": "a", "encoding_format": "base64"}


# --- errors ---

ISSUE = {"loc": ["body", "stop"], "msg": "wrong", "type": "extra", "input": {"a": 1}}


@pytest.mark.parametrize("body", [{"detail": [ISSUE]}, {"object": "error", "message": {"detail": [ISSUE]}}])
def test_a_request_that_is_not_valid(mistral, raw_server, body):
    long = body | {"padding": "x" * 2000}
    server = raw_server([http(json.dumps(long).encode(), "422 Unprocessable Entity"), None])
    with pytest.raises(HTTPValidationError) as raised:
        mistral(KEY, server_url=server.url).chat.complete(**ASKED)
    issue = raised.value.data.detail[0]
    assert (issue.loc, issue.msg, issue.type) == (["body", "stop"], "wrong", "extra")
    assert (raised.value.status_code, json.loads(raised.value.body)) == (422, long)
    assert raised.value.headers["content-type"] == "application/json"


@pytest.mark.parametrize("body", [None, "", "[]", "{}", '"no"', '{"detail": "no"}', '{"message": "no"}', "{"])
def test_a_request_that_is_not_valid_for_no_reason(body):
    assert HTTPValidationError("no", 422, body=body).data.detail is None


def test_what_old_except_clauses_catch():
    for kind in (AuthenticationError, InvalidRequestError, RateLimitError, ServerError, ProtocolError):
        assert issubclass(kind, SDKError)
    assert SDKError is MistralError is exceptions.MistralAPIException is models.SDKError
    assert ResponseValidationError is ProtocolError
    assert NoResponseError is exceptions.MistralConnectionException
    assert not issubclass(NoResponseError, MistralError), "there is no status and no body"


# --- hooks ---


class Told(Hooks):
    def __init__(self):
        self.moments = []

    def before_request(self, request):
        request.headers["x-hook"] = "1"
        self.moments.append("before")

    def after_attempt(self, attempt):
        self.moments.append(type(attempt.error).__name__ if attempt.error else "success")

    def on_chunk(self, call, chunk):
        self.moments.append("chunk")


def test_hooks(mistral, raw_server):
    server = raw_server([OK, None], [UNAUTHORIZED, None], [*STREAM, None])
    hook = Told()
    client = mistral(KEY, server_url=server.url, hooks=[hook])
    client.chat.complete(**ASKED)
    with pytest.raises(AuthenticationError):
        client.models.list()
    assert hook.moments == ["before", "success", "before", "AuthenticationError"]
    chunks = len(list(client.chat.stream(**ASKED)))
    assert sorted(hook.moments[4:]) == ["before", *["chunk"] * chunks, "success"]
    assert {header(request, "x-hook") for request in server.requests} == {"1"}


def test_hooks_that_are_coroutines(raw_server):
    class Waiting(Hooks):
        async def before_request(self, request):
            await anyio.lowlevel.checkpoint()
            request.headers["x-hook"] = "1"

    server = raw_server([OK, None])
    client = Mistral(KEY, server_url=server.url, hooks=[Waiting()])
    with pytest.raises(ConfigurationError, match="asynchronous"):
        client.chat.complete(**ASKED)

    async def main():
        async with client:
            await client.chat.complete_async(**ASKED)

    asyncio.run(main())
    assert [header(request, "x-hook") for request in server.requests] == ["1"]


# --- a client's life ---


def test_with_closes_both(raw_server):
    server = raw_server([OK, None])

    async def main():
        async with Mistral(KEY, server_url=server.url) as client:
            client.chat.complete(**ASKED)
            await client.chat.complete_async(**ASKED)
            assert server.connections == 2
        await closed(server)
        with Mistral(KEY, server_url=server.url) as client:
            client.chat.complete(**ASKED)
            await client.chat.complete_async(**ASKED)
            assert server.connections == 4
        await closed(server)
        return client

    client = asyncio.run(main())
    for call in (client.chat.complete, client.chat.stream, client.models.list):
        with pytest.raises(RuntimeError, match="closed"):
            call(**ASKED) if call != client.models.list else call()
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(client.chat.complete_async(**ASKED))
    client.close()


ENDS_AT_ONCE = """
import gc, sys
import anyio
from mistral_client import Mistral

async def main():
    asked = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    with Mistral("key", server_url=sys.argv[1]) as client:
        await client.chat.complete_async(**asked)
        client.chat.complete(**asked)

for _ in range(5):
    anyio.run(main, backend=sys.argv[2])
    gc.collect()
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_with_closes_at_once_what_an_event_loop_that_ends_has_no_time_for(raw_server, backend):
    program = [sys.executable, "-W", "error", "-c", ENDS_AT_ONCE, raw_server([OK, None]).url, backend]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


async def closed(server):
    with anyio.fail_after(10):
        while server.open:  # noqa: ASYNC110  # it is told by another thread
            await anyio.sleep(0.01)


def test_close_on_trio(raw_server):
    server = raw_server([OK, None])

    async def main():
        with Mistral(KEY, server_url=server.url) as client:
            await client.chat.complete_async(**ASKED)
            assert server.open == 1
        await closed(server)

    anyio.run(main, backend="trio")


def test_what_is_wrong_is_told_when_the_client_is_built(monkeypatch):
    for wrong in (
        {},
        {"api_key": "new\nline"},
        {"server_url": "ftp://x"},
        {"hooks": [object()], "server_url": "http://127.0.0.1:1"},
        {"timeout_ms": -1, "server_url": "http://127.0.0.1:1"},
    ):
        with pytest.raises((ConfigurationError, ArgumentError)):
            Mistral(**wrong)
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    monkeypatch.setenv("MISTRAL_ENDPOINT", "http://127.0.0.1:1")
    Mistral().close()


@pytest.mark.parametrize("key", [KEY, lambda: KEY], ids=["text", "function"])
def test_the_key_is_shown_nowhere(raw_server, key):
    refusal = http(json.dumps({"message": f"{KEY} is not known"}).encode(), "401 Unauthorized")
    url = raw_server([refusal]).url
    client = Mistral(key, server_url=url)
    assert KEY not in repr(client) + repr(vars(client)) + repr(vars(client.chat))

    async def streamed():
        async with Mistral(key, server_url=url) as another:
            await another.chat.stream_async(**ASKED)

    for call in (
        lambda: client.chat.complete(**ASKED),
        lambda: asyncio.run(streamed()),
        lambda: client.chat.complete(**ASKED, timeout_ms=0),
        lambda: Mistral(key, server_url="ftp://x"),
    ):
        with pytest.raises(mistral_client.MistralException) as raised:
            call()
        told = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
        frames = [each for each in told.stack if "/mistral_client/" in each.filename]
        assert KEY not in f"{raised.value!r}" + "".join(f"{each.locals}" for each in frames)
    client.close()


def test_the_local_server_asks_no_function_for_a_key(baby):
    with Mistral(pytest.fail, server_url=f"local:{baby}") as client:
        assert client.models.list().data


def test_what_is_not_here_names_who_has_it():
    client = Mistral(KEY)
    for part, name in [
        *(
            (client, name)
            for name in ("agents", "audio", "batch", "beta", "classifiers", "files", "fine_tuning", "ocr")
        ),
        *((client.models, name) for name in ("update", "archive_async")),
    ]:
        with pytest.raises(NotImplementedError, match="official package"):
            getattr(part, name)
    assert not hasattr(client, "nonsense")
    assert not hasattr(client.chat, "nonsense")


# --- one table ---

METHODS = {
    "chat.complete": (ChatOptions, ChatCompletionRequest),
    "chat.stream": (ChatOptions, ChatCompletionRequest),
    "chat.parse": (SamplingOptions, None),
    "chat.parse_stream": (SamplingOptions, None),
    "fim.complete": (FIMOptions, FIMCompletionRequest),
    "fim.stream": (FIMOptions, FIMCompletionRequest),
    "embeddings.create": (EmbeddingOptions, EmbeddingRequest),
    "models.list": (CallOptions, None),
    "models.retrieve": (CallOptions, None),
    "models.delete": (CallOptions, None),
}
PER_CALL = {"retries", "server_url", "timeout_ms", "http_headers", "stream"}


def keywords(path):
    """The names that a method takes, and the TypedDict of the rest."""
    part, name = path.split(".")
    parameters = [*inspect.signature(getattr(getattr(Mistral(KEY), part), name)).parameters.values()]
    assert parameters[-1].kind is parameters[-1].VAR_KEYWORD
    rest = getattr(modern, parameters[-1].annotation.removeprefix("Unpack[").removesuffix("]"))
    return [each.name for each in parameters[:-1]], rest.__optional_keys__ | rest.__required_keys__


@pytest.mark.parametrize("path", METHODS)
def test_keywords_are_those_of_the_request(path):
    ours, request = METHODS[path]
    own, rest = keywords(path)
    assert rest - PER_CALL - {"suffix"} == ours.__optional_keys__
    assert rest >= PER_CALL
    if request is not None:
        named = {"inputs": "input"}
        fields = {*(named.get(name, name) for name in own), *rest} - CallOptions.__optional_keys__ - PER_CALL
        assert fields | {"stream"} == {*request.model_fields, "stream"} | ({"safe_mode"} & fields)


@pytest.mark.parametrize("path", METHODS)
def test_sync_and_async_are_the_same(path):
    part, name = path.split(".")
    kind = getattr(modern, {"chat": "Chat", "fim": "FIM"}.get(part, part.capitalize()))
    sync, twin = getattr(kind, name), getattr(kind, name + "_async")
    assert inspect.signature(sync) == inspect.signature(twin)
    assert (inspect.iscoroutinefunction(sync), inspect.iscoroutinefunction(twin)) == (False, True)
    assert (twin.__name__, inspect.getdoc(twin)) == (name + "_async", inspect.getdoc(sync))


def test_names_are_found_where_later_clients_had_them():
    from mistral_client import client
    from mistral_client import models as found

    assert client.Mistral is Mistral
    for name in [
        "UserMessage",
        "SystemMessage",
        "AssistantMessage",
        "ToolMessage",
        "TextChunk",
        "ImageURLChunk",
        "ImageURL",
        "DocumentURLChunk",
        "ReferenceChunk",
        "FileChunk",
        "ThinkChunk",
        "AudioChunk",
        "CompletionChunk",
        "CompletionEvent",
        "UsageInfo",
        "Tool",
        "Function",
        "FunctionCall",
        "FunctionName",
        "ToolCall",
        "ToolChoice",
        "ToolChoiceEnum",
        "ResponseFormat",
        "JSONSchema",
        "Prediction",
        "ChatCompletionResponse",
        "ChatCompletionChoice",
        "CompletionResponseStreamChoice",
        "DeltaMessage",
        "EmbeddingResponse",
        "EmbeddingResponseData",
        "EmbeddingRequest",
        "ModelList",
        "ModelCard",
        "BaseModelCard",
        "FTModelCard",
        "ModelCapabilities",
        "DeleteModelOut",
        "FIMCompletionRequest",
        "FIMCompletionResponse",
        "ChatCompletionRequest",
        "MistralError",
        "SDKError",
        "HTTPValidationError",
        "ResponseValidationError",
        "NoResponseError",
        "UnknownContentChunk",
        "ChatCompletionStreamRequest",
        "FIMCompletionStreamRequest",
        "MistralPromptMode",
        "ReasoningEffort",
        "EmbeddingDtype",
        "EncodingFormat",
        "ToolTypes",
    ]:
        assert getattr(found, name) is not None
        assert getattr(mistral_client, name) is getattr(found, name) or name == "ToolChoice"
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = found.Nonsense
    with pytest.raises(AttributeError, match="nonsense"):
        _ = mistral_client.client.nonsense


def test_an_image_may_be_an_object():
    image = models.ImageURL(url="data:,", detail="low")
    assert models.ImageURLChunk(image_url=image).image_url == {"url": "data:,", "detail": "low"}


TYPED = """
from typing import assert_type

from pydantic import BaseModel

from mistral_client import ChatCompletionResponse, ChatCompletionStreamResponse, Mistral, ParsedChatCompletionResponse
from mistral_client import UserMessage
from mistral_client.client import Mistral as There
from mistral_client.models.models import ModelCapabilities
from mistral_client.modern import UNSET, BackoffStrategy, EventStream, RetryConfig


class City(BaseModel):
    name: str


def sync(client: Mistral) -> None:
    messages = [UserMessage(content="hello")]
    config = RetryConfig("backoff", BackoffStrategy(1, 2, 1.5, 3), True)
    answer = client.chat.complete(model="m", messages=messages, temperature=UNSET, top_p=None, retries=config)
    assert_type(answer, ChatCompletionResponse)
    with client.chat.stream(model="m", messages=messages, stream=True) as stream:
        assert_type(stream, EventStream)
        for event in stream:
            assert_type(event.data, ChatCompletionStreamResponse)
    assert_type(client.chat.parse(City, model="m", messages=messages), ParsedChatCompletionResponse[City])
    assert_type(client.models.retrieve(model_id="m").capabilities, ModelCapabilities)
    client.chat.complete(model="m", messages=messages, temprature=1)  # type: ignore[call-arg]
    client.nonsense  # type: ignore[attr-defined]


async def asynchronous() -> None:
    async with There(lambda: "key") as client:
        assert_type(client, There)
        answer = await client.chat.complete_async(model="m", messages=[{"role": "user", "content": "hello"}])
        assert_type(answer, ChatCompletionResponse)
        async for event in await client.chat.stream_async(model="m", messages=[]):
            assert_type(event.data, ChatCompletionStreamResponse)
        parsed = await client.chat.parse_async(response_format=City, model="m", messages=[])
        assert_type(parsed.parsed, City)
        await client.chat.complete_async(model="m", messages=[], temprature=1)  # type: ignore[call-arg]
"""


def test_the_type_checker_knows_it(tmp_path):
    (tmp_path / "typed.py").write_text(TYPED)
    program = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", str(tmp_path / "typed.py")]
    ran = subprocess.run(program, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
