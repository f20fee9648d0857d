"""`Mistral` from the package itself: 1.x."""

from __future__ import annotations

import asyncio
import functools
import json
import os

import pytest
from pydantic import BaseModel, Field

from mistral_client import Mistral, SystemMessage, UserMessage, models
from mistral_client.models import Function, SDKError, Tool, ToolMessage

MODEL = "mistral-small-latest"
QUESTION = [{"role": "user", "content": "What is the best French cheese?"}]


class Person(BaseModel):
    name: str = Field(max_length=4)
    age: int = Field(ge=0, le=120)


def test_list():
    client = Mistral(api_key=os.getenv("MISTRAL_API_KEY", ""))
    cards = client.models.list().data
    assert MODEL in [card.id for card in cards if card.capabilities.completion_chat]
    assert client.models.retrieve(model_id=MODEL).id == MODEL


def test_chat():
    with Mistral(api_key=os.getenv("MISTRAL_API_KEY", "")) as s:
        res = s.chat.complete(
            model=MODEL,
            messages=[SystemMessage(content="Be short."), UserMessage(content="Who painted the Mona Lisa?")],
            stream=False,
            max_tokens=8,
        )
        assert res is not None
        assert res.choices is not None
        assert res.choices[0].message.content
        assert res.usage.completion_tokens == 8


def test_stream():
    s = Mistral(api_key="key")
    res = s.chat.stream(model=MODEL, messages=QUESTION, temperature=0, max_tokens=8)
    text = ""
    with res as event_stream:
        for event in event_stream:
            text += event.data.choices[0].delta.content
    whole = s.chat.complete(model=MODEL, messages=QUESTION, temperature=0, max_tokens=8)
    assert text == whole.choices[0].message.content


def test_async():
    async def main():
        async with Mistral(api_key="key") as s:
            res = await s.chat.complete_async(model=MODEL, messages=QUESTION, max_tokens=8)
            texts = []
            async for chunk in await s.chat.stream_async(model=MODEL, messages=QUESTION, max_tokens=8):
                if chunk.data.choices[0].delta.content is not None:
                    texts.append(chunk.data.choices[0].delta.content)  # noqa: PERF401
            return res, texts

    res, texts = asyncio.run(main())
    assert res.choices[0].message.content
    assert "".join(texts)


def test_tools():
    def is_paid(by_card: bool) -> str:
        return json.dumps({"status": by_card})

    functions = {"is_paid": functools.partial(is_paid)}
    tools = [
        Tool(
            type="function",
            function=Function(
                name="is_paid",
                description="Whether a transaction is paid.",
                parameters={
                    "type": "object",
                    "properties": {"by_card": {"type": "boolean"}},
                    "required": ["by_card"],
                    "additionalProperties": False,
                },
            ),
        )
    ]
    client = Mistral(api_key="key")
    messages = [models.UserMessage(content="Is transaction 7 paid?")]
    response = client.chat.complete(
        model=MODEL, messages=messages, tools=tools, tool_choice="any", parallel_tool_calls=False, max_tokens=160
    )
    messages.append(response.choices[0].message)
    for call in response.choices[0].message.tool_calls:
        result = functions[call.function.name](**json.loads(call.function.arguments))
        messages.append(ToolMessage(name=call.function.name, content=result, tool_call_id=call.id))
    assert client.chat.complete(model=MODEL, messages=messages, max_tokens=8).choices[0].message.content


def test_structured_output():
    client = Mistral(api_key="key")
    response = client.chat.parse(
        model=MODEL,
        messages=[UserMessage(content="Somebody, please.")],
        response_format=Person,
        max_tokens=160,
        random_seed=1,
    )
    assert isinstance(response.choices[0].message.parsed, Person)
    asked = client.chat.complete(
        model=MODEL,
        messages=QUESTION,
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "person",
                "schema_definition": {
                    "type": "object",
                    "properties": {"ok": {"type": "boolean"}},
                    "required": ["ok"],
                    "additionalProperties": False,
                },
            },
        },
        max_tokens=160,
    )
    assert isinstance(json.loads(asked.choices[0].message.content)["ok"], bool)


def test_embeddings():
    client = Mistral(api_key="key")
    response = client.embeddings.create(model="mistral-embed", inputs=["Embed this sentence.", "As well as this one."])
    assert [len(each.embedding) for each in response.data] == [len(response.data[0].embedding)] * 2


def test_errors():
    client = Mistral(api_key="key")
    try:
        client.chat.complete(model="no-such-model", messages=QUESTION)
    except models.HTTPValidationError:
        pytest.fail("it is no 422")
    except SDKError as error:
        told = (error.status_code, json.loads(error.body)["code"], error.message)
    assert told == (400, "1500", "Invalid model: no-such-model")
    with pytest.raises(models.HTTPValidationError) as raised:
        client.chat.complete(model=MODEL, messages=QUESTION, extra_body={"nonsense": 1})
    assert raised.value.data.detail[0].loc[-1] == "nonsense"
