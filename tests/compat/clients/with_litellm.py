"""litellm's provider `mistral`."""

import os

import contract as c

# Else the import fetches a table of prices from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

WHERE = {"api_base": f"{c.URL}/v1", "api_key": c.KEY, "num_retries": 0, "max_retries": 0}
MODEL = f"mistral/{c.MODEL}"
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": c.SCHEMA, "strict": True}}


def asked(messages=c.MESSAGES, **options):
    return litellm.completion(messages=messages, **{"model": MODEL, "temperature": 0, **WHERE, **options})


def models():
    raise c.NotOffered("litellm lists the models of its own table")


def chat():
    answer = asked(max_tokens=c.TOKENS)
    c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason)
    assert answer.usage.completion_tokens <= c.TOKENS


def read(chunks):
    choices = [chunk.choices[0] for chunk in chunks]
    c.streamed([choice.delta.content for choice in choices], [choice.finish_reason for choice in choices])


def stream():
    read(list(asked(stream=True, max_tokens=c.TOKENS)))


async def asynchronous():
    ask = {"model": MODEL, "messages": c.MESSAGES, "max_tokens": c.TOKENS, **WHERE}
    answer = await litellm.acompletion(**ask)
    c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason)
    read([chunk async for chunk in await litellm.acompletion(stream=True, **ask)])


def embeddings():
    answer = litellm.embedding(model=f"mistral/{c.EMBEDDER}", input=c.TEXTS, **WHERE)
    c.embedded([each["embedding"] for each in answer.data])


def tools():
    message = asked(tools=[c.TOOL], tool_choice="any").choices[0].message
    (call,) = message.tool_calls
    c.called(call.id, call.function.name, call.function.arguments)
    result = {"role": "tool", "name": "get_weather", "content": c.WEATHER, "tool_call_id": call.id}
    answer = asked([*c.MESSAGES, message.model_dump(), result], tools=[c.TOOL], tool_choice="none", max_tokens=c.TOKENS)
    c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason)


def schema():
    c.followed(asked(response_format=FORMAT).choices[0].message.content)


def unauthorized():
    c.expect(litellm.AuthenticationError, lambda: asked(api_key=c.WRONG_KEY), "Unauthorized", status=401)


def unknown_model():
    ask = lambda: asked(model=f"mistral/{c.NOBODY}")  # noqa: E731
    c.expect(litellm.BadRequestError, ask, "Invalid model: no-such-model", status=400)


def bad_value():
    ask = lambda: asked(temperature=9.0)  # noqa: E731
    c.expect(litellm.BadRequestError, ask, "temperature")


def unknown_field():
    ask = lambda: asked(extra_body={"x": 1})  # noqa: E731
    c.expect(litellm.BadRequestError, ask, "extra_forbidden")


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
