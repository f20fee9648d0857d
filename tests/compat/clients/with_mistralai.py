"""mistralai 1, 2 and 3: the generated clients."""

import contract as c

try:
    import httpx2 as httpx
except ImportError:  # 1.x and 2.x
    import httpx
try:
    from mistralai.client import Mistral
    from mistralai.client.errors import HTTPValidationError, SDKError
except ImportError:  # 1.x
    from mistralai import Mistral
    from mistralai.models import HTTPValidationError, SDKError

client = Mistral(api_key=c.KEY, server_url=c.URL)
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": c.SCHEMA, "strict": True}}


def asked(messages=c.MESSAGES, **options):
    return client.chat.complete(**{"model": c.MODEL, "messages": messages, "temperature": 0, **options})


def models():
    c.listed(card.id for card in client.models.list().data)
    assert client.models.retrieve(model_id=c.MODEL).id == c.MODEL


def chat():
    answer = asked(max_tokens=c.TOKENS, safe_prompt=True, stop=["never said"], random_seed=1)
    c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason)
    assert answer.usage.completion_tokens <= c.TOKENS


def read(chunks):
    choices = [chunk.data.choices[0] for chunk in chunks]
    tokens = chunks[-1].data.usage.completion_tokens
    c.streamed([choice.delta.content for choice in choices], [choice.finish_reason for choice in choices], tokens)


def stream():
    with client.chat.stream(model=c.MODEL, messages=c.MESSAGES, max_tokens=c.TOKENS) as chunks:
        read(list(chunks))


async def asynchronous():
    async with Mistral(api_key=c.KEY, server_url=c.URL) as there:
        answer = await there.chat.complete_async(model=c.MODEL, messages=c.MESSAGES, max_tokens=c.TOKENS)
        c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason)
        async with await there.chat.stream_async(model=c.MODEL, messages=c.MESSAGES, max_tokens=c.TOKENS) as chunks:
            read([chunk async for chunk in chunks])
        c.listed(card.id for card in (await there.models.list_async()).data)


def embeddings():
    c.embedded([each.embedding for each in client.embeddings.create(model=c.EMBEDDER, inputs=c.TEXTS).data])


def tools():
    message = asked(tools=[c.TOOL], tool_choice="any").choices[0].message
    call = message.tool_calls[0]
    c.called(call.id, call.function.name, call.function.arguments)
    result = {"role": "tool", "name": "get_weather", "content": c.WEATHER, "tool_call_id": call.id}
    answer = asked([*c.MESSAGES, message, result], tools=[c.TOOL], tool_choice="none", max_tokens=c.TOKENS)
    c.answered(answer.choices[0].message.content, answer.choices[0].finish_reason)
    # As the likeliest answer has it: drawn, it may hold more calls than one.
    ask = {"model": c.MODEL, "messages": c.MESSAGES, "temperature": 0, "tools": [c.TOOL], "tool_choice": "any"}
    with client.chat.stream(**ask) as chunks:
        choices = [chunk.data.choices[0] for chunk in chunks]
    (call,) = [call for choice in choices for call in choice.delta.tool_calls or []]
    c.called(call.id, call.function.name, call.function.arguments)
    assert choices[-1].finish_reason == "tool_calls"


def schema():
    c.followed(asked(response_format=FORMAT).choices[0].message.content)


def unauthorized():
    c.expect(SDKError, Mistral(api_key=c.WRONG_KEY, server_url=c.URL).models.list, "Unauthorized", status=401)


def unknown_model():
    c.expect(SDKError, lambda: asked(model=c.NOBODY), "Invalid model: no-such-model", "1500", status=400)


def bad_value():
    c.expect(HTTPValidationError, lambda: asked(temperature=9.0), "temperature", status=422)


def unknown_field():
    bodies = []
    watched = httpx.Client(event_hooks={"request": [lambda request: bodies.append(request.content)]})
    there = Mistral(api_key=c.KEY, server_url=c.URL, client=watched)
    ask = lambda: there.chat.complete(  # noqa: E731
        model=c.MODEL, messages=c.MESSAGES, max_tokens=1, response_format={"type": "text", "unheard_of": 1}
    )
    try:
        ask()
    except HTTPValidationError as error:
        c.mistaken(error, ["extra_forbidden"], 422)
    else:
        assert b"unheard_of" not in bodies[0], "the server took a field that it does not know"
        raise c.NotOffered("the client itself drops fields that it does not know")


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
