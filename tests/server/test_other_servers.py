"""The client with a server of somebody else's: llama.cpp's own HTTP listener, which speaks OpenAI's wire."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from mistral_client import AuthenticationError, InvalidRequestError, NotFoundError
from mistral_client.server.engines.llama_cpp import _load
from tests.conftest import HELLO

KEY = "the-right-key"
CONTEXT = 256
OPTIONS = {"max_tokens": 12, "temperature": 0.0}
TOO_LONG = [{"role": "user", "content": "hello " * 2 * CONTEXT}]


@pytest.fixture(scope="module")
def url(baby):
    # One thread: the baby's steps are so short that two would mostly wait for each other.
    server = _load(baby, CONTEXT, slots=2, threads=1, batch=CONTEXT, key=KEY)
    server.handle_metrics()  # llama.cpp never ends when it is told to end before its loop runs
    yield server.listening_address
    del server  # the only reference: its threads end and its port is closed


@pytest.fixture
def client(make_client, url):
    return make_client(KEY, url, max_retries=0)


def deltas(chunks, choice=0):
    return "".join(part.delta.content or "" for chunk in chunks for part in chunk.choices if part.index == choice)


def test_the_models(client, baby):
    models = client.list_models()
    assert [card.id for card in models.data] == [str(baby)]
    assert models.data[0].owned_by == "llamacpp"
    assert models.data[0].meta["n_ctx"] == CONTEXT  # of llama.cpp's own making, and kept


def test_the_stream_says_what_the_answer_says(client):
    whole = client.chat(HELLO, "baby", **OPTIONS)
    answer = whole.choices[0]
    assert (answer.message.role, answer.finish_reason, whole.usage.completion_tokens) == ("assistant", "length", 12)
    assert answer.message.content

    chunks = list(client.chat_stream(HELLO, "baby", **OPTIONS))
    assert deltas(chunks) == answer.message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_several_answers_come_mixed(client):
    chunks = list(client.chat_stream(HELLO, "baby", n=2, max_tokens=4))
    assert deltas(chunks, 0)
    assert deltas(chunks, 1)
    ended = [part.index for chunk in chunks for part in chunk.choices if part.finish_reason == "length"]
    assert sorted(ended) == [0, 1]


def test_a_stream_left_half_way_leaves_the_client_usable(client):
    with client.chat_stream(HELLO, "baby", max_tokens=150) as stream:
        next(stream)
    assert client.chat(HELLO, "baby", **OPTIONS).usage.completion_tokens == 12


def test_logprobs(client):
    options = OPTIONS | {"logprobs": True, "top_logprobs": 2}
    whole = client.chat(HELLO, "baby", **options).choices[0]
    assert len(whole.logprobs.content) == 12
    assert "".join(token.token for token in whole.logprobs.content) == whole.message.content
    for token in whole.logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 2
        assert all(first.logprob >= second.logprob for first, second in pairwise(token.top_logprobs))

    chunks = list(client.chat_stream(HELLO, "baby", **options))
    streamed = [chunk.choices[0].logprobs for chunk in chunks]
    assert [token.token for some in streamed if some for token in some.content] == [
        token.token for token in whole.logprobs.content
    ]


def test_a_schema(client):
    schema = {"name": "answer", "schema": {"enum": ["yes", "no"]}}
    answer = client.chat(
        HELLO, "baby", max_tokens=60, response_format={"type": "json_schema", "json_schema": schema}
    ).choices[0]
    assert (answer.message.content in {'"yes"', '"no"'}, answer.finish_reason) == (True, "stop")


def test_embeddings(client):
    answer = client.embeddings("baby", ["hello", "goodbye"])
    assert [entry.index for entry in answer.data] == [0, 1]
    for entry in answer.data:
        assert math.isclose(math.hypot(*entry.embedding), 1, rel_tol=1e-4)
    assert answer.data[0].embedding != answer.data[1].embedding
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


CALLS = {
    "models": lambda client: client.list_models(),
    "chat": lambda client: client.chat(HELLO, "baby", **OPTIONS),
    "stream": lambda client: list(client.chat_stream(HELLO, "baby", **OPTIONS)),
    "embeddings": lambda client: client.embeddings("baby", "hello"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("keys", [["a-wrong-key"], []], ids=["wrong", "none"])
def test_a_key_that_is_not_the_right_one(make_client, url, call, keys):
    with pytest.raises(AuthenticationError) as caught:
        call(make_client(*keys, endpoint=url))
    assert (caught.value.http_status, caught.value.attempts) == (401, 1)
    assert "Invalid API Key" in str(caught.value)
    assert "a-wrong-key" not in str(caught.value)


BAD = {
    "too long": lambda client: client.chat(TOO_LONG, "baby"),
    "too long, streamed": lambda client: list(client.chat_stream(TOO_LONG, "baby")),
    "a schema that is none": lambda client: client.chat(
        HELLO,
        "baby",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}},
    ),
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD)
def test_a_bad_request(client, call):
    with pytest.raises(InvalidRequestError) as caught:
        call(client)
    assert (caught.value.http_status, caught.value.retryable) == (400, False)


def test_the_reason_of_a_bad_request_is_told(client):
    with pytest.raises(InvalidRequestError, match=r"exceeds the available context size \(256 tokens\)") as caught:
        client.chat(TOO_LONG, "baby")
    assert caught.value.type == "exceed_context_size_error"


def test_a_route_that_it_does_not_have(client):
    with pytest.raises(NotFoundError, match="File Not Found"):
        client.completion("baby", "def f(", ")")
