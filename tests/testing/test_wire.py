"""Answers to the letter, as Mistral's API sends them."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from mistral_client.models.chat_completion import ChatCompletionResponse, ChatCompletionStreamResponse

CHAT = "/v1/chat/completions"
ASK = {"model": "mistral-small", "messages": [{"role": "user", "content": "What is it?"}]}
ID = r'"id":"[0-9a-f]{32}"'
FRAME = ID + r',"object":"chat.completion.chunk","created":\d{10},"model":"mistral-small"'


@pytest.fixture
def post(mistral_server):
    with httpx.Client(base_url=mistral_server.url, trust_env=False) as client:
        yield lambda path=CHAT, **more: client.post(path, json={**ASK, **more})


def in_order(text):
    """Its JSON, with the fields in the order in which they came."""
    return json.dumps(json.loads(text), separators=(",", ":"))


def test_a_whole_answer(mistral_server, post):
    mistral_server.reply("It is ✓.")
    response = post()
    assert response.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f-]{36}", response.headers["mistral-correlation-id"])
    answer = response.json()
    assert re.fullmatch("[0-9a-f]{32}", answer.pop("id"))
    assert answer.pop("created") > 1_700_000_000
    assert answer == {
        "object": "chat.completion",
        "model": "mistral-small",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "It is ✓.", "tool_calls": None},
            }
        ],
        "usage": {"prompt_tokens": 3, "total_tokens": 6, "completion_tokens": 3},
    }
    ChatCompletionResponse.model_validate_json(response.content, strict=True)


def test_a_stream(mistral_server, post):
    mistral_server.reply(["It", " is."])
    response = post(stream=True)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, end = response.text.split("\n\n")
    assert end == ""
    *chunks, done = [event.removeprefix("data: ") for event in events]
    assert done == "[DONE]"
    shapes = [
        r'"delta":{"role":"assistant","content":""},"finish_reason":null}]',
        r'"delta":{"content":"It"},"finish_reason":null}]',
        r'"delta":{"content":" is."},"finish_reason":null}]',
        r'"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}',
    ]
    for chunk, shape in zip(chunks, shapes, strict=True):
        begin, rest = chunk.split(',"choices":[{"index":0,')
        assert rest == shape + "}"
        assert re.fullmatch("{" + FRAME, begin), begin
        ChatCompletionStreamResponse.model_validate_json(chunk)


def test_a_streamed_call(mistral_server, post):
    """The role, then one chunk with the whole call, finish reason and usage, then the end."""
    mistral_server.reply(tool_calls=[{"name": "get_weather", "arguments": {"city": "Paris"}}])
    role, call, done, _ = post(stream=True).text.split("\n\n")
    assert '"delta":{"role":"assistant","content":""}' in role
    assert json.loads(call.removeprefix("data: "))["choices"] == [
        {
            "index": 0,
            "delta": {
                "content": "",
                "tool_calls": [
                    {
                        "id": "call00001",
                        "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                        "index": 0,
                    }
                ],
            },
            "finish_reason": "tool_calls",
        }
    ]
    assert '"usage":' in call
    assert done == "data: [DONE]"


def test_embeddings(mistral_server, post):
    mistral_server.reply_embeddings([[0.5, -1.0]])
    response = httpx.post(mistral_server.url + "/v1/embeddings", json={"model": "m", "input": "a b"}, trust_env=False)
    answer = response.json()
    assert re.fullmatch("[0-9a-f]{32}", answer.pop("id"))
    assert answer == {
        "object": "list",
        "data": [{"object": "embedding", "embedding": [0.5, -1.0], "index": 0}],
        "model": "m",
        "usage": {"prompt_tokens": 2, "total_tokens": 2, "completion_tokens": 0},
    }


def test_errors(mistral_server, post):
    mistral_server.fail(429, retry_after=1)
    mistral_server.fail(401)
    mistral_server.reply("x")
    limited, unauthorized, wrong = post(), post(), post(temperature=9)
    assert limited.headers["retry-after"] == "1"
    assert limited.json() == {
        "object": "error",
        "message": "Rate limit exceeded",
        "type": "rate_limited",
        "param": None,
        "code": "1300",
    }
    assert unauthorized.json() == {"detail": "Unauthorized"}
    (issue,) = wrong.json()["detail"]
    assert (wrong.status_code, issue["type"], issue["loc"], issue["input"]) == (
        422,
        "less_than_equal",
        ["body", "temperature"],
        9,
    )


def test_the_reference_server_has_the_same_shapes(mistral_server, baby, post):
    """What a real model answers has the same fields in the same order."""
    mistral_server.relay(f"local:{baby}", times=2)
    mistral_server.reply(["a", "b"])

    def shapes(response):
        if "event-stream" not in response.headers["content-type"]:
            return [fields(response.json())]
        events = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
        read = [event if event == "[DONE]" else fields(json.loads(event)) for event in events]
        return [read[0], read[1], *read[-2:]]

    def fields(value):
        if isinstance(value, dict):
            return [(name, fields(item)) for name, item in value.items()]
        return [fields(item) for item in value] if isinstance(value, list) else type(value).__name__

    real = [post(max_tokens=3), post(max_tokens=3, stream=True)]
    ours = [post(), post(stream=True)]
    assert [shapes(response) for response in ours] == [shapes(response) for response in real]
