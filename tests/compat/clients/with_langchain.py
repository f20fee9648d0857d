"""langchain-mistralai."""

import contract as c
import httpx
from langchain_core.messages import ToolMessage
from langchain_mistralai import ChatMistralAI, MistralAIEmbeddings

WHERE = {"base_url": f"{c.URL}/v1", "api_key": c.KEY, "max_retries": 1}


def model(**options):
    return ChatMistralAI(**{"model_name": c.MODEL, "temperature": 0, "max_tokens": 64, **WHERE, **options})


def models():
    raise c.NotOffered("langchain-mistralai lists no models")


def chat():
    answer = model(max_tokens=c.TOKENS).invoke(c.QUESTION)
    c.answered(answer.content, answer.response_metadata["finish_reason"])
    assert answer.usage_metadata["output_tokens"] <= c.TOKENS


def read(chunks):
    reasons = [chunk.response_metadata.get("finish_reason") for chunk in chunks]
    c.streamed([chunk.content for chunk in chunks], reasons)


def stream():
    read(list(model(max_tokens=c.TOKENS).stream(c.QUESTION)))


async def asynchronous():
    answer = await model(max_tokens=c.TOKENS).ainvoke(c.QUESTION)
    c.answered(answer.content, answer.response_metadata["finish_reason"])
    read([chunk async for chunk in model(max_tokens=c.TOKENS).astream(c.QUESTION)])


def embeddings():
    embedder = MistralAIEmbeddings(model=c.EMBEDDER, endpoint=f"{c.URL}/v1/", api_key=c.KEY)
    c.embedded(embedder.embed_documents(c.TEXTS))


def tools():
    answer = model().bind_tools([c.TOOL], tool_choice="any").invoke(c.QUESTION)
    (call,) = answer.tool_calls
    c.called(call["id"], call["name"], call["args"])
    history = [("user", c.QUESTION), answer, ToolMessage(c.WEATHER, tool_call_id=call["id"], name="get_weather")]
    c.answered(model(max_tokens=c.TOKENS).invoke(history).content)


def schema():
    wanted = {"title": "city", "description": "A city.", **c.SCHEMA}
    c.followed(model().with_structured_output(wanted, method="json_schema").invoke(c.QUESTION))


def unauthorized():
    ask = lambda: model(api_key=c.WRONG_KEY).invoke(c.QUESTION)  # noqa: E731
    c.expect(httpx.HTTPStatusError, ask, "Unauthorized", status=401)


def unknown_model():
    ask = lambda: model(model_name=c.NOBODY).invoke(c.QUESTION)  # noqa: E731
    c.expect(httpx.HTTPStatusError, ask, "Invalid model: no-such-model", status=400)


def bad_value():
    ask = lambda: model(model_kwargs={"presence_penalty": 9}).invoke(c.QUESTION)  # noqa: E731
    c.expect(httpx.HTTPStatusError, ask, "presence_penalty", status=422)


def unknown_field():
    ask = lambda: model(model_kwargs={"x": 1}).invoke(c.QUESTION)  # noqa: E731
    c.expect(httpx.HTTPStatusError, ask, "extra_forbidden", status=422)


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
