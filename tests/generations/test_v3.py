"""`Mistral` from `client`: 2.x and 3.x."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic import BaseModel, Field

from mistral_client.client import Mistral
from mistral_client.exceptions import HTTPValidationError, MistralError, NoResponseError
from mistral_client.models import AssistantMessage, ChatCompletionResponse, CompletionChunk, UserMessage
from mistral_client.modern import UNSET, BackoffStrategy, CompletionEvent, EventStream, RetryConfig

MODEL = "mistral-medium-latest"


class Step(BaseModel):
    done: bool
    number: int = Field(ge=0, le=9)


def client() -> Mistral:
    return Mistral(
        api_key=lambda: "key",
        retry_config=RetryConfig("backoff", BackoffStrategy(1, 50, 1.1, 100), False),
        timeout_ms=60_000,
    )


def test_list():
    with client() as mistral:
        assert {card.id for card in mistral.models.list(provider=UNSET).data} >= {MODEL, "mistral-embed"}


def test_chat():
    with client() as mistral:
        res: ChatCompletionResponse = mistral.chat.complete(
            model=MODEL,
            messages=[UserMessage(content="Count."), AssistantMessage(content="One, two,", prefix=True)],
            temperature=UNSET,
            top_p=None,
            max_tokens=8,
            stop=UNSET,
            tool_choice=None,
            retries=UNSET,
            server_url=None,
            timeout_ms=None,
            http_headers={"x-mine": "1"},
        )
    assert res.choices[0].message.role == "assistant"
    assert res.choices[0].message.content.startswith("One, two,")


def test_stream():
    with client() as mistral:
        stream: EventStream = mistral.chat.stream(
            model=MODEL, messages=[{"role": "user", "content": "Count."}], max_tokens=8
        )
        with stream as events:
            for event in events:
                assert isinstance(event, CompletionEvent)
                assert isinstance(event.data, CompletionChunk)
        assert event.data.usage.completion_tokens == 8


def test_async():
    async def main():
        async with client() as mistral:
            res, embedded, listed = await asyncio.gather(
                mistral.chat.complete_async(
                    model=MODEL, messages=[{"role": "user", "content": "Count."}], max_tokens=8
                ),
                mistral.embeddings.create_async(model="mistral-embed", inputs="a"),
                mistral.models.list_async(),
            )
            async with await mistral.chat.stream_async(
                model=MODEL, messages=[{"role": "user", "content": "Count."}], max_tokens=8
            ) as events:
                text = "".join([event.data.choices[0].delta.content async for event in events])
            return res, embedded, listed, text

    res, embedded, listed, text = asyncio.run(main())
    assert res.choices[0].message.content
    assert embedded.data[0].embedding
    assert listed.data
    assert text


def test_tools():
    tool = {
        "type": "function",
        "function": {
            "name": "step",
            "parameters": {
                "type": "object",
                "properties": {"done": {"type": "boolean"}},
                "required": ["done"],
                "additionalProperties": False,
            },
        },
    }
    with client() as mistral:
        res = mistral.chat.complete(
            model=MODEL,
            messages=[UserMessage(content="Are we done?")],
            tools=[tool],
            tool_choice={"type": "function", "function": {"name": "step"}},
            parallel_tool_calls=False,
            max_tokens=160,
        )
    (call,) = res.choices[0].message.tool_calls
    assert isinstance(json.loads(call.function.arguments)["done"], bool)
    assert res.choices[0].finish_reason == "tool_calls"


def test_structured_output():
    messages = [{"role": "user", "content": "The next step."}]
    with client() as mistral:
        parsed = mistral.chat.parse(Step, model=MODEL, messages=messages, max_tokens=160)
        assert isinstance(parsed.choices[0].message.parsed, Step)
        with mistral.chat.parse_stream(Step, model=MODEL, messages=messages, max_tokens=160) as stream:
            assert Step.model_validate_json("".join(event.data.choices[0].delta.content for event in stream))
            assert isinstance(stream.final_response().parsed, Step)


def test_code():
    with client() as mistral:
        res = mistral.fim.complete(model="codestral-latest", prompt="def f(", suffix=None, max_tokens=8)
    assert isinstance(res.choices[0].message.content, str)


def test_embeddings():
    with client() as mistral:
        floats = mistral.embeddings.create(model="mistral-embed", inputs=["a"], output_dimension=UNSET)
        packed = mistral.embeddings.create(model="mistral-embed", inputs=["a"], encoding_format="base64")
    assert abs(floats.to_numpy() - packed.to_numpy()).max() < 1e-6


def test_errors():
    with client() as mistral:
        with pytest.raises(MistralError) as raised:
            mistral.chat.complete(model="no-such-model", messages=[UserMessage(content="a")])
        assert (raised.value.status_code, json.loads(raised.value.body)["type"]) == (400, "invalid_model")
        with pytest.raises(HTTPValidationError):
            mistral.chat.complete(model=MODEL, messages=[UserMessage(content="a")], extra_body={"n": "many"})
        with pytest.raises(NoResponseError):
            mistral.models.list(server_url="http://127.0.0.1:9", retries=None)
