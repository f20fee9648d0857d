"""instructor over the official client of 1.x."""

from typing import Literal

import contract as c
import instructor
from mistralai import Mistral
from mistralai.models import HTTPValidationError, SDKError
from pydantic import BaseModel, create_model


class City(BaseModel):
    city: Literal["Paris", "Rome"]
    large: bool


Weather = create_model("get_weather", __doc__="The weather of a city.", city=(Literal["Paris", "Rome"], ...))


def patched(key=c.KEY, mode=instructor.Mode.TOOLS, **options):
    return instructor.from_mistral(Mistral(api_key=key, server_url=c.URL), mode=mode, **options)


def ask(**options):
    """What is handed to `create`."""
    return {"model": c.MODEL, "messages": c.MESSAGES, "temperature": 0, "max_retries": 0, **options}


def plain(key=c.KEY, **options):
    return patched(key).chat.completions.create(**ask(response_model=None, **options))


def read(answer):
    c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason)
    assert answer.usage.completion_tokens <= c.TOKENS


def read_all(chunks):
    choices = [chunk.data.choices[0] for chunk in chunks]
    tokens = chunks[-1].data.usage.completion_tokens
    c.streamed([choice.delta.content for choice in choices], [choice.finish_reason for choice in choices], tokens)


def models():
    raise c.NotOffered("instructor wraps nothing but the chat")


def chat():
    read(plain(max_tokens=c.TOKENS))


def stream():
    read_all(list(plain(max_tokens=c.TOKENS, stream=True)))
    *_, last = patched().chat.completions.create_partial(**ask(response_model=City))
    c.followed(last.model_dump())


async def asynchronous():
    create = patched(use_async=True).chat.completions.create
    read(await create(**ask(response_model=None, max_tokens=c.TOKENS)))
    chunks = await create(**ask(response_model=None, max_tokens=c.TOKENS, stream=True))
    read_all([chunk async for chunk in chunks])
    c.followed((await create(**ask(response_model=City))).model_dump())


def embeddings():
    raise c.NotOffered("instructor wraps nothing but the chat")


def tools():
    weather, answer = patched().chat.completions.create_with_completion(**ask(response_model=Weather))
    message = answer.choices[0].message
    (call,) = message.tool_calls
    assert c.called(call.id, call.function.name, call.function.arguments) == weather.model_dump()
    result = {"role": "tool", "name": "get_weather", "content": c.WEATHER, "tool_call_id": call.id}
    read(plain(messages=[*c.MESSAGES, message.model_dump(), result], max_tokens=c.TOKENS))


def schema():
    create = patched(mode=instructor.Mode.JSON_SCHEMA).chat.completions.create
    c.followed(create(**ask(response_model=City)).model_dump())


def unauthorized():
    c.expect(SDKError, lambda: plain(c.WRONG_KEY), "Unauthorized", status=401)


def unknown_model():
    c.expect(SDKError, lambda: plain(model=c.NOBODY), "Invalid model: no-such-model", "1500", status=400)


def bad_value():
    c.expect(HTTPValidationError, lambda: plain(temperature=9.0), "temperature", status=422)


def unknown_field():
    c.expect(TypeError, lambda: plain(unheard_of=1), "unheard_of")
    raise c.NotOffered("mistralai, which it calls, takes no argument that it does not know")


c.check(
    list=models,
    chat=chat,
    stream=stream,
    asynchronous=asynchronous,
    embeddings=embeddings,
    tools=tools,
    schema=schema,
    unauthorized=unauthorized,
    unknown_model=unknown_model,
    bad_value=bad_value,
    unknown_field=unknown_field,
)
