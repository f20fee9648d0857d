"""llama-index-llms-mistralai and llama-index-embeddings-mistralai."""

import inspect
from typing import Literal

import contract as c
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.mistralai import MistralAIEmbedding
from llama_index.llms.mistralai import MistralAI
from mistralai.client.errors import HTTPValidationError, SDKError

MESSAGES = [ChatMessage(role="user", content=c.QUESTION)]
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": c.SCHEMA, "strict": True}}
# llama-index itself refuses names that are not in its own table, and their fine-tuned kin.
MODEL = f"{c.MODEL}-latest"
NOBODY = f"ft:{MODEL}:{c.NOBODY}"


def model(**options):
    return MistralAI(**{"model": MODEL, "temperature": 0, "endpoint": c.URL, "api_key": c.KEY, **options})


def get_weather(city: Literal["Paris", "Rome"]) -> str:
    """The weather of a city."""
    return c.WEATHER


def read(answer, tokens=c.TOKENS):
    c.answered(answer.message.content, answer.raw["choices"][0].finish_reason)
    assert answer.raw["usage"].completion_tokens <= tokens


def read_all(pieces):
    reasons = [piece.raw.data.choices[0].finish_reason for piece in pieces]
    c.streamed([piece.delta for piece in pieces], reasons, pieces[-1].raw.data.usage.completion_tokens)


def models():
    raise c.NotOffered("llama-index-llms-mistralai lists no models")


def chat():
    read(model(max_tokens=c.TOKENS).chat(MESSAGES))
    read(model(max_tokens=c.TOKENS, random_seed=1).chat(MESSAGES, safe_prompt=True, stop=["never said"]))


def stream():
    read_all(list(model(max_tokens=c.TOKENS).stream_chat(MESSAGES)))


async def asynchronous():
    read(await model(max_tokens=c.TOKENS).achat(MESSAGES))
    read_all([piece async for piece in await model(max_tokens=c.TOKENS).astream_chat(MESSAGES)])


def embeddings():
    taken = set(inspect.signature(MistralAIEmbedding.__init__).parameters)
    assert not taken & {"endpoint", "server_url", "base_url", "api_base"}, taken
    raise c.NotOffered("llama-index-embeddings-mistralai takes no address of a server")


def tools():
    weather = FunctionTool.from_defaults(get_weather)
    there = model(max_tokens=64)
    answer = there.chat_with_tools([weather], c.QUESTION, tool_required=True)
    (call,) = there.get_tool_calls_from_response(answer)
    c.called(call.tool_id, call.tool_name, call.tool_kwargs)
    result = {"role": "tool", "additional_kwargs": {"tool_call_id": call.tool_id, "name": call.tool_name}}
    history = [*MESSAGES, answer.message, ChatMessage(content=c.WEATHER, **result)]
    read(model(max_tokens=c.TOKENS).chat(history))
    *_, last = there.stream_chat_with_tools([weather], c.QUESTION, tool_required=True)
    (block,) = [block for block in last.message.blocks if isinstance(block, ToolCallBlock)]
    c.called(block.tool_call_id, block.tool_name, block.tool_kwargs)


def schema():
    c.followed(model(max_tokens=64).chat(MESSAGES, response_format=FORMAT).message.content)


def unauthorized():
    c.expect(SDKError, lambda: model(api_key=c.WRONG_KEY).chat(MESSAGES), "Unauthorized", status=401)


def unknown_model():
    ask = lambda: model(model=NOBODY).chat(MESSAGES)  # noqa: E731
    c.expect(SDKError, ask, f"Invalid model: {NOBODY}", "1500", status=400)


def bad_value():
    ask = lambda: model().chat(MESSAGES, presence_penalty=9.0)  # noqa: E731
    c.expect(HTTPValidationError, ask, "presence_penalty", status=422)


def unknown_field():
    c.expect(TypeError, lambda: model().chat(MESSAGES, unheard_of=1), "unheard_of")
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
