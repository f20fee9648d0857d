"""A real model behind the server, with the same recording and faults."""

from __future__ import annotations

import pytest

from mistral_client import InvalidRequestError, RateLimitError, StreamInterrupted
from mistral_client.testing import MistralServer

from ..conftest import HELLO

ASK = {"model": "mistral-small", "messages": HELLO, "max_tokens": 5, "temperature": 0}


def text(answer):
    return answer.choices[0].message.content


def test_the_baby_answers(mistral_server):
    mistral_server.fail(429, retry_after=0.01)
    mistral_server.relay("baby")
    mistral_server.relay("baby", when="break", cut_after=2)
    client = mistral_server.client()
    answer = client.chat(**ASK)
    assert answer.usage.completion_tokens == 5
    chunks = list(client.chat_stream(**ASK))
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == text(answer)
    with pytest.raises(StreamInterrupted) as caught:
        list(client.chat_stream(**{**ASK, "messages": [{"role": "user", "content": "break it"}]}))
    assert caught.value.text
    assert [each.status for each in mistral_server.requests] == [429, 200, 200, 200]
    assert len(client.embeddings("mistral-embed", "hello").data[0].embedding) == 1024
    with pytest.raises(InvalidRequestError, match="Invalid model: other"):
        client.chat(**{**ASK, "model": "other"})


def test_the_baby_is_recorded(tmp_path):
    file = tmp_path / "baby.jsonl"
    with MistralServer(record=True, environment={}) as server:
        server.replay(file, endpoint="baby")
        said = text(server.client().chat(**ASK))
        chunks = list(server.client().chat_stream(**ASK))
    with MistralServer() as server:
        server.replay(file)
        assert text(server.client().chat(**ASK)) == said
        assert list(server.client().chat_stream(**ASK)) == chunks


def test_an_endpoint_elsewhere_gets_the_key_that_is_given(mistral_server):
    mistral_server.fail(429, retry_after=0)
    with MistralServer(environment={}) as server:
        server.relay(mistral_server.url, api_key="key-for-elsewhere")
        with pytest.raises(RateLimitError):
            server.client(max_retries=0).list_models(extra_headers={"x-mine": "1"})
    assert mistral_server.last.secrets == ["key-for-elsewhere"]
    assert mistral_server.last.headers["x-mine"] == "1"
