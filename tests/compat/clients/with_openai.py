"""openai, told of Mistral's endpoint."""

import contract as c
import openai

SETTINGS = {"base_url": f"{c.URL}/v1", "max_retries": 0}
client = openai.OpenAI(api_key=c.KEY, **SETTINGS)
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": c.SCHEMA, "strict": True}}


def asked(messages=c.MESSAGES, **options):
    options = {"model": c.MODEL, "temperature": 0, **options}
    return client.chat.completions.create(messages=messages, **options)


def models():
    c.listed(card.id for card in client.models.list())
    assert client.models.retrieve(c.MODEL).id == c.MODEL


def chat():
    answer = asked(max_tokens=c.TOKENS, stop=["never said"], presence_penalty=0.5)
    c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason)
    assert answer.usage.completion_tokens <= c.TOKENS


def read(chunks):
    choices = [chunk.choices[0] for chunk in chunks]
    tokens = chunks[-1].usage.completion_tokens
    c.streamed([choice.delta.content for choice in choices], [choice.finish_reason for choice in choices], tokens)


def stream():
    read(list(asked(stream=True, max_tokens=c.TOKENS)))


async def asynchronous():
    async with openai.AsyncOpenAI(api_key=c.KEY, **SETTINGS) as there:
        create = there.chat.completions.create
        answer = await create(model=c.MODEL, messages=c.MESSAGES, max_tokens=c.TOKENS)
        c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason)
        chunks = await create(model=c.MODEL, messages=c.MESSAGES, max_tokens=c.TOKENS, stream=True)
        read([chunk async for chunk in chunks])


def embeddings():
    answer = client.embeddings.create(model=c.EMBEDDER, input=c.TEXTS)  # base64 on the wire
    c.embedded([each.embedding for each in answer.data])
    answer = client.embeddings.create(model=c.EMBEDDER, input=c.TEXTS, encoding_format="float")
    c.embedded([each.embedding for each in answer.data])


def tools():
    message = asked(tools=[c.TOOL], tool_choice="required").choices[0].message
    (call,) = message.tool_calls
    c.called(call.id, call.function.name, call.function.arguments)
    result = {"role": "tool", "content": c.WEATHER, "tool_call_id": call.id}
    answer = asked([*c.MESSAGES, message, result], tools=[c.TOOL], tool_choice="none", max_tokens=c.TOKENS)
    c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason)


def schema():
    c.followed(asked(response_format=FORMAT).choices[0].message.content)


def unauthorized():
    there = openai.OpenAI(api_key=c.WRONG_KEY, **SETTINGS)
    c.expect(openai.AuthenticationError, there.models.list, "Unauthorized", status=401)


def unknown_model():
    c.expect(openai.BadRequestError, lambda: asked(model=c.NOBODY), "Invalid model: no-such-model", status=400)
    c.expect(openai.NotFoundError, lambda: client.models.retrieve(c.NOBODY), c.NOBODY, status=404)


def bad_value():
    c.expect(openai.UnprocessableEntityError, lambda: asked(temperature=9.0), "temperature", status=422)


def unknown_field():
    ask = lambda: asked(extra_body={"x": 1})  # noqa: E731
    c.expect(openai.UnprocessableEntityError, ask, "extra_forbidden", status=422)


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
