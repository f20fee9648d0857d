"""pydantic-ai's model and provider for Mistral."""

import contract as c
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, StructuredDict, UserError
from pydantic_ai.direct import model_request, model_request_stream, model_request_stream_sync, model_request_sync
from pydantic_ai.embeddings import infer_embedding_model
from pydantic_ai.messages import ModelRequest, ToolReturnPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.mistral import MistralModel
from pydantic_ai.providers.mistral import MistralProvider
from pydantic_ai.tools import ToolDefinition

MESSAGES = [ModelRequest.user_text_prompt(c.QUESTION)]
WEATHER = ToolDefinition(name="get_weather", description="The weather of a city.", parameters_json_schema=c.CITY)
CITY = StructuredDict(c.SCHEMA, name="city")
TOOLS = ModelRequestParameters(function_tools=[WEATHER])


def model(name=c.MODEL, key=c.KEY, **settings):
    provider = MistralProvider(api_key=key, base_url=c.URL)
    return MistralModel(name, provider=provider, settings={"temperature": 0, "max_tokens": c.TOKENS, **settings})


def asked(messages=MESSAGES, parameters=None, *, name=c.MODEL, key=c.KEY, **settings):
    return model_request_sync(model(name, key, **settings), messages, model_request_parameters=parameters)


def read(answer):
    c.answered(answer.text, answer.finish_reason)
    assert 0 < answer.usage.output_tokens <= c.TOKENS


def read_all(events, answer):
    deltas = [event.delta.content_delta for event in events if event.event_kind == "part_delta"]
    starts = [event.part.content for event in events if event.event_kind == "part_start"]
    c.streamed([*starts, *deltas], [answer.finish_reason], answer.usage.output_tokens)
    assert "".join([*starts, *deltas]) == answer.text


def models():
    raise c.NotOffered("pydantic-ai lists no models of a server")


def chat():
    read(asked(seed=1, stop_sequences=["never said"]))
    read(Agent(model(), instructions="Be brief.").run_sync(c.QUESTION).response)


def stream():
    with model_request_stream_sync(model(), MESSAGES) as pieces:
        read_all(list(pieces), pieces.response)


async def asynchronous():
    read(await model_request(model(), MESSAGES))
    async with model_request_stream(model(), MESSAGES) as pieces:
        read_all([piece async for piece in pieces], pieces.get())


def embeddings():
    provider = MistralProvider(api_key=c.KEY, base_url=c.URL)
    name = f"mistral:{c.EMBEDDER}"
    c.expect(UserError, lambda: infer_embedding_model(name, provider_factory=lambda _: provider), "Unknown embeddings")
    raise c.NotOffered("pydantic-ai has no embeddings with Mistral")


def tools():
    answer = asked(parameters=TOOLS, tool_choice="required", max_tokens=64)
    (call,) = answer.tool_calls
    c.called(call.tool_call_id, call.tool_name, call.args)
    result = ModelRequest(parts=[ToolReturnPart(call.tool_name, c.WEATHER, call.tool_call_id)])
    read(asked([*MESSAGES, answer, result], TOOLS, tool_choice="none"))
    # An output type is a tool too, which must be called.
    c.followed(Agent(model(max_tokens=256), output_type=CITY).run_sync(c.QUESTION).output)


def schema():
    agent = Agent(model(), output_type=NativeOutput(CITY))
    c.expect(UserError, lambda: agent.run_sync(c.QUESTION), "Native structured output is not supported")
    raise c.NotOffered("pydantic-ai sends Mistral no response_format; its output types go as a tool, see there")


def unauthorized():
    c.expect(ModelHTTPError, lambda: asked(key=c.WRONG_KEY), "Unauthorized", status=401)


def unknown_model():
    c.expect(ModelHTTPError, lambda: asked(name=c.NOBODY), "Invalid model: no-such-model", "1500", status=400)


def bad_value():
    c.expect(ModelHTTPError, lambda: asked(temperature=9.0), "temperature", status=422)


def unknown_field():
    assert "extra_body" in MistralModel.unsupported_settings
    raise c.NotOffered("pydantic-ai hands no field to Mistral that it does not know: no extra_body")


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
