"""mistralai 0.0.12 and 0.4.2: the clients of early 2024."""

import importlib.metadata
import inspect

import contract as c
from mistralai.async_client import MistralAsyncClient
from mistralai.client import MistralClient
from mistralai.exceptions import MistralAPIException
from mistralai.models.chat_completion import ChatMessage

VERSION = importlib.metadata.version("mistralai")
MESSAGES = [ChatMessage(role="user", content=c.QUESTION)]
TOOLS = "tools" in inspect.signature(MistralClient.chat).parameters
client = MistralClient(api_key=c.KEY, endpoint=c.URL, max_retries=1)


def asked(**options):
    return client.chat(model=c.MODEL, messages=MESSAGES, max_tokens=c.TOKENS, temperature=0, **options)


def models():
    c.listed(card.id for card in client.list_models().data)


def chat():
    answer = asked(safe_prompt=True)
    c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason.value)
    assert answer.usage.completion_tokens <= c.TOKENS


def stream():
    chunks = list(client.chat_stream(model=c.MODEL, messages=MESSAGES, max_tokens=c.TOKENS, temperature=0))
    read(chunks)


def read(chunks):
    choices = [chunk.choices[0] for chunk in chunks]
    reasons = [choice.finish_reason and choice.finish_reason.value for choice in choices]
    c.streamed([choice.delta.content for choice in choices], reasons, chunks[-1].usage.completion_tokens)


async def asynchronous():
    there = MistralAsyncClient(api_key=c.KEY, endpoint=c.URL, max_retries=1)
    try:
        answer = await there.chat(model=c.MODEL, messages=MESSAGES, max_tokens=c.TOKENS)
        c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason.value)
        coming = there.chat_stream(model=c.MODEL, messages=MESSAGES, max_tokens=c.TOKENS)
        read([chunk async for chunk in coming])
        c.listed(card.id for card in (await there.list_models()).data)
    finally:
        await there.close()


def embeddings():
    answer = client.embeddings(model=c.EMBEDDER, input=c.TEXTS)
    c.embedded([each.embedding for each in answer.data])


def tools():
    if not TOOLS:
        raise c.NotOffered(f"{VERSION} knows no tools")
    message = asked_with_tool(MESSAGES, "any").choices[0].message
    call = message.tool_calls[0]
    c.called(call.id, call.function.name, call.function.arguments)
    history = [
        *MESSAGES,
        message,
        ChatMessage(role="tool", name="get_weather", content=c.WEATHER, tool_call_id=call.id),
    ]
    c.answered(asked_with_tool(history, "none").choices[0].message.content)


def asked_with_tool(messages, choice):
    return client.chat(model=c.MODEL, messages=messages, tools=[c.TOOL], tool_choice=choice, temperature=0)


def schema():
    if not TOOLS:
        raise c.NotOffered(f"{VERSION} knows no response_format")
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": c.SCHEMA}}
    answer = client.chat(model=c.MODEL, messages=MESSAGES, response_format=wanted)
    c.followed(answer.choices[0].message.content)


def unauthorized():
    there = MistralClient(api_key=c.WRONG_KEY, endpoint=c.URL, max_retries=1)
    c.expect(MistralAPIException, there.list_models, "Unauthorized", status=401)


def unknown_model():
    ask = lambda: client.chat(model=c.NOBODY, messages=MESSAGES)  # noqa: E731
    c.expect(MistralAPIException, ask, "Invalid model: no-such-model", "1500", status=400)


def bad_value():
    ask = lambda: client.chat(model=c.MODEL, messages=MESSAGES, temperature=9.0)  # noqa: E731
    c.expect(MistralAPIException, ask, "temperature", status=422)


def unknown_field():
    if not TOOLS:
        raise c.NotOffered(f"{VERSION} sends no field but its own")
    message = {"role": "user", "content": c.QUESTION}
    ask = lambda: client.chat(model=c.MODEL, messages=[message], response_format={"type": "text", "x": 1})  # noqa: E731
    c.expect(MistralAPIException, ask, "extra_forbidden", status=422)


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
