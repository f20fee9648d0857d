"""`MistralClient`: 0.0 to 0.4."""

from __future__ import annotations

import asyncio
import json

import pytest

from mistral_client.async_client import MistralAsyncClient
from mistral_client.client import MistralClient
from mistral_client.exceptions import MistralAPIException, MistralException
from mistral_client.models.chat_completion import (
    ChatMessage,
    Function,
    ResponseFormat,
    ResponseFormats,
    ToolChoice,
    ToolType,
)

QUESTION = [ChatMessage(role="user", content="What is the best French cheese?")]
WEATHER = {
    "type": ToolType.function,
    "function": Function(
        name="weather",
        description="The weather at a place.",
        parameters={
            "type": "object",
            "properties": {"warm": {"type": "boolean"}},
            "required": ["warm"],
            "additionalProperties": False,
        },
    ),
}


def test_list():
    client = MistralClient(api_key="key")
    assert "mistral-tiny" in [card.id for card in client.list_models().data]


def test_chat():
    client = MistralClient(api_key="key")
    response = client.chat(model="mistral-tiny", messages=QUESTION, max_tokens=8, random_seed=1)
    assert response.choices[0].message.content
    assert response.usage.completion_tokens == 8
    assert response.choices[0].finish_reason.value == "length"


def test_stream():
    client = MistralClient(api_key="key")
    text = ""
    for chunk in client.chat_stream(model="mistral-tiny", messages=QUESTION, max_tokens=8, temperature=0):
        if chunk.choices[0].delta.content is not None:
            text += chunk.choices[0].delta.content
    whole = client.chat(model="mistral-tiny", messages=QUESTION, max_tokens=8, temperature=0)
    assert text == whole.choices[0].message.content


def test_async():
    async def main():
        client = MistralAsyncClient(api_key="key")
        response = await client.chat(model="mistral-tiny", messages=QUESTION, max_tokens=8)
        stream = client.chat_stream(model="mistral-tiny", messages=QUESTION, max_tokens=8)
        chunks = [chunk async for chunk in stream]
        await client.close()
        return response, chunks

    response, chunks = asyncio.run(main())
    assert response.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason


def test_tools():
    client = MistralClient(api_key="key")
    messages = [ChatMessage(role="user", content="Is it warm?")]
    response = client.chat(
        model="mistral-tiny",
        messages=messages,
        tools=[WEATHER],
        tool_choice=ToolChoice.any,
        parallel_tool_calls=False,
        max_tokens=160,
    )
    call = response.choices[0].message.tool_calls[0]
    assert call.function.name == "weather"
    assert isinstance(json.loads(call.function.arguments)["warm"], bool)
    messages.append(response.choices[0].message)
    messages.append(ChatMessage(role="tool", name="weather", content="20 degrees", tool_call_id=call.id))
    assert client.chat(model="mistral-tiny", messages=messages, max_tokens=8).choices[0].message.content


def test_structured_output():
    client = MistralClient(api_key="key")
    response = client.chat(
        model="mistral-tiny",
        messages=[ChatMessage(role="user", content="A number, as JSON.")],
        response_format=ResponseFormat(type=ResponseFormats.json_object),
        max_tokens=16,
    )
    assert response.choices[0].message.content.lstrip().startswith("{")


def test_embeddings():
    client = MistralClient(api_key="key")
    response = client.embeddings(model="mistral-embed", input=["one text", "another"])
    assert [len(each.embedding) for each in response.data] == [len(response.data[0].embedding)] * 2


def test_errors():
    client = MistralClient(api_key="key")
    with pytest.raises(MistralAPIException) as raised:
        client.chat(model="no-such-model", messages=QUESTION)
    assert raised.value.http_status == 400
    with pytest.raises(MistralException):
        list(client.chat_stream(model="no-such-model", messages=QUESTION))
