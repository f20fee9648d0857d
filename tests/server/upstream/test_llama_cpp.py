"""Mistral's wire in front of llama.cpp's own listener, which speaks OpenAI's."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from mistral_client import InvalidRequestError, ServerError
from mistral_client.server.engines.llama_cpp import _load
from tests.conftest import HELLO

KEY = "the-right-key"
CONTEXT = 256


@pytest.fixture(scope="module")
def other(baby):
    server = _load(baby, CONTEXT, slots=2, threads=1, batch=CONTEXT, key=KEY)
    server.handle_metrics()  # llama.cpp never ends when it is told to end before its loop runs
    yield server.listening_address
    del server


@pytest.fixture
def client(in_front, make_client, other):
    return make_client(endpoint=in_front(other, key=KEY), max_retries=0)


OPTIONS = {"model": "mistral-small", "max_tokens": 12, "temperature": 0}


def test_the_stream_says_what_the_answer_says(client):
    whole = client.chat(HELLO, **OPTIONS)
    assert (whole.choices[0].finish_reason, whole.usage.completion_tokens, whole.model) == (
        "length",
        12,
        "mistral-small",
    )
    chunks = list(client.chat_stream(HELLO, **OPTIONS))
    assert "".join(each.choices[0].delta.content for each in chunks) == whole.choices[0].message.content
    assert (chunks[-1].choices[0].finish_reason, chunks[-1].usage) == ("length", whole.usage)


def test_the_same_seed_gives_the_same_answer(client):
    said = {client.chat(HELLO, **OPTIONS | {"temperature": 1.5, "random_seed": 4}).choices[0].message.content}
    said.add(client.chat(HELLO, **OPTIONS | {"temperature": 1.5, "random_seed": 4}).choices[0].message.content)
    assert len(said) == 1


def test_several_answers(client):
    assert [choice.index for choice in client.chat(HELLO, **OPTIONS, n=2).choices] == [0, 1]


def test_logprobs(client):
    told = client.chat(HELLO, **OPTIONS, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert [len(token.top_logprobs) for token in told] == [2] * 12


def test_the_context_is_full(client):
    assert client.chat(HELLO, "mistral-small", temperature=0).choices[0].finish_reason in {"model_length", "stop"}


def test_a_schema(client):
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"enum": ["yes", "no"]}}}
    answer = client.chat(HELLO, "mistral-small", max_tokens=60, response_format=wanted).choices[0].message.content
    assert answer in {'"yes"', '"no"'}


def test_embeddings(client):
    vectors = client.embeddings("mistral-embed", ["hello", "goodbye"]).to_numpy()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    packed = client.embeddings("mistral-embed", "hello", encoding_format="base64").data[0].embedding
    assert np.allclose(np.frombuffer(base64.b64decode(packed), "<f4"), vectors[0], atol=1e-5)


def test_too_long(client):
    with pytest.raises(InvalidRequestError, match="exceeds the available context size") as caught:
        client.chat([{"role": "user", "content": "hello " * 2 * CONTEXT}], "mistral-small")
    assert (caught.value.type, caught.value.code) == ("invalid_request_invalid_args", "3051")


def test_a_wrong_key_is_no_fault_of_the_caller(in_front, make_client, other):
    client = make_client(endpoint=in_front(other, key="another"), max_retries=0)
    with pytest.raises(ServerError):
        client.chat(HELLO, "mistral-small")
