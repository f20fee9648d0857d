"""The client with a server of somebody else's: `transformers serve`."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("fastapi")

from mistral_client import InvalidRequestError, NotFoundError
from mistral_client.server.engines.transformers import TransformersEngine
from tests.server.serving import serving

from .transformers_serve import transformers_serve

HELLO = [{"role": "user", "content": "What is in a name?"}]
GREEDY = {"temperature": 0.0, "max_tokens": 24}


@pytest.fixture(scope="module")
def url(pair, tmp_path_factory):
    log = tmp_path_factory.mktemp("serve") / "said"
    with transformers_serve(sys.executable, pair.safetensors, log) as url:
        yield url


@pytest.fixture
def client(make_client, url):
    return make_client("no-key-is-asked-for", url, max_retries=0, timeout=60)


@pytest.fixture
def model(pair):
    return str(pair.safetensors)


def test_the_models(client):
    assert client.list_models().object == "list"


def test_the_stream_says_what_the_answer_says(client, model):
    whole = client.chat(HELLO, model, **GREEDY)
    answer = whole.choices[0]
    assert (answer.message.role, answer.finish_reason, whole.usage.completion_tokens) == ("assistant", "length", 24)
    chunks = list(client.chat_stream(HELLO, model, **GREEDY))  # without [DONE]
    assert "".join(part.delta.content or "" for chunk in chunks for part in chunk.choices) == answer.message.content
    assert len(chunks) > 10
    assert [part.finish_reason for chunk in chunks for part in chunk.choices if part.finish_reason] == ["length"]


def test_it_says_what_our_server_says(client, model, pair, make_client):
    with TransformersEngine(pair.safetensors, threads=1) as engine, serving(engine=engine) as (_, url):
        ours = make_client("none", url).chat(HELLO, "mistral-small", **GREEDY)
    theirs = client.chat(HELLO, model, **GREEDY)
    # It strips the space at the beginning.
    assert ours.choices[0].message.content.strip() == theirs.choices[0].message.content
    assert ours.usage == theirs.usage


def test_a_field_that_it_does_not_know(client, model):
    with pytest.raises(InvalidRequestError, match=r"Unexpected fields in the request: .'top_k'") as caught:
        client.chat(HELLO, model, top_k=3)
    assert caught.value.http_status == 422


def test_a_model_that_is_not_there(client):
    with pytest.raises(InvalidRequestError, match="requested 'nobody/no-such-model'"):
        client.chat(HELLO, "nobody/no-such-model")


def test_a_route_that_it_does_not_have(client, model):
    with pytest.raises(NotFoundError):
        client.embeddings(model, "hello")
