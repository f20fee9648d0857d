"""Spans and metrics of calls, held to the names of the conventions: synchronous, on asyncio and on trio."""

from __future__ import annotations

import json
import subprocess
import sys

import anyio
import pytest
from jsonschema import validate
from opentelemetry import trace
from opentelemetry.baggage import set_baggage
from opentelemetry.context import attach, detach
from opentelemetry.propagate import get_global_textmap
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, http_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.semconv.attributes import http_attributes as stable
from opentelemetry.trace import SpanKind, StatusCode

from mistral_client import (
    AuthenticationError,
    CallInfo,
    Hooks,
    MistralAsyncClient,
    MistralClient,
    RequestInfo,
    ServerError,
    StreamInterrupted,
    _calls,
)
from mistral_client._flow import Together
from mistral_client.otel import CONTENT, OpenTelemetry

from .conftest import HELLO, chunk, chunked_head, http, reset
from .test_chunks import EVENTS, TEXT, event
from .test_clients import BUSY, KEY, OK, STREAM, UNAUTHORIZED, header, text_of
from .test_exchange import ANSWER

VECTORS = {
    "id": "e1",
    "object": "list",
    "model": "embed-1",
    "data": [{"object": "embedding", "embedding": [0.5], "index": 0}],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}
KNOWN = {
    value
    for module in (gen_ai_attributes, http_attributes, stable, server_attributes, error_attributes)
    for value in vars(module).values()
    if isinstance(value, str)
}


class Telemetry:
    def __init__(self, **options):
        self._spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracer = provider.get_tracer("test")
        self._reader = InMemoryMetricReader()
        self._meters = MeterProvider([self._reader])
        self.hook = OpenTelemetry(tracer_provider=provider, meter_provider=self._meters, **options)

    def spans(self):
        return [
            span for span in self._spans.get_finished_spans() if span.instrumentation_scope.name == "mistral_client"
        ]

    def span(self):
        (span,) = self.spans()
        assert span.attributes.keys() <= KNOWN
        assert span.end_time >= span.start_time
        return span

    def points(self):
        """Of each metric: attributes and the sum."""
        data = self._reader.get_metrics_data()
        metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        return {m.name: [(dict(p.attributes), p.count, p.sum) for p in m.data.data_points] for m in metrics}

    def bounds(self):
        data = self._reader.get_metrics_data()
        metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return {m.name: (m.unit, m.data.data_points[0].explicit_bounds) for m in metrics}


@pytest.fixture
def telemetry():
    return Telemetry()


def where(server):
    host, _, port = server.url.removeprefix("http://").partition(":")
    return {"server.address": host, "server.port": int(port)}


def test_a_chat(make_client, raw_server, telemetry):
    server = raw_server([OK, None])
    make_client(KEY, server.url, hooks=[telemetry.hook]).chat(
        HELLO,
        "small",
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        max_tokens=9,
        n=2,
        stop="x",
        random_seed=7,
        presence_penalty=1.0,
        frequency_penalty=0.25,
        response_format={"type": "json_object"},
    )
    span = telemetry.span()
    assert (span.name, span.kind, span.status.status_code) == ("chat small", SpanKind.CLIENT, StatusCode.UNSET)
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.model": "small",
        "gen_ai.response.model": ANSWER["model"],
        **where(server),
    }
    assert dict(span.attributes) == common | {
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.stop_sequences": ("x",),
        "gen_ai.request.seed": 7,
        "gen_ai.request.presence_penalty": 1.0,
        "gen_ai.request.frequency_penalty": 0.25,
        "gen_ai.output.type": "json",
        "gen_ai.response.id": ANSWER["id"],
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": ANSWER["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": ANSWER["usage"]["completion_tokens"],
        "http.response.status_code": 200,
    }
    points = telemetry.points()
    assert points.keys() == {"gen_ai.client.token.usage", "gen_ai.client.operation.duration"}
    assert sorted(points["gen_ai.client.token.usage"], key=repr) == [
        (common | {"gen_ai.token.type": kind}, 1, ANSWER["usage"][name])
        for kind, name in (("input", "prompt_tokens"), ("output", "completion_tokens"))
    ]
    ((attributes, count, seconds),) = points["gen_ai.client.operation.duration"]
    assert (attributes, count) == (common, 1)
    assert seconds > 0


def test_the_other_calls(make_client, raw_server, telemetry):
    vectors = http(json.dumps(VECTORS).encode())
    server = raw_server([OK, None], [vectors, None], [http(b'{"object":"list","data":[]}'), None])
    client = make_client(KEY, server.url, hooks=[telemetry.hook])
    client.completion("code", "def f(", ")")
    client.embeddings("embed", ["a"], output_dimension=64, encoding_format="float")
    client.list_models()
    fim, embeddings = telemetry.spans()
    assert (fim.name, embeddings.name) == ("text_completion code", "embeddings embed")
    assert embeddings.attributes["gen_ai.embeddings.dimension.count"] == 64
    assert embeddings.attributes["gen_ai.request.encoding_formats"] == ("float",)
    assert embeddings.attributes["gen_ai.response.model"] == "embed-1"
    assert embeddings.attributes["gen_ai.usage.input_tokens"] == 7
    assert "gen_ai.usage.output_tokens" not in embeddings.attributes
    assert header(server.requests[2], "traceparent") == "", "no model is at work"


def test_a_stream(make_client, raw_server, telemetry):
    server = raw_server([*STREAM, None])
    stream = make_client(KEY, server.url, hooks=[telemetry.hook]).chat_stream(HELLO, "m")
    next(stream)
    assert telemetry.spans() == [], "it lasts until the stream ends"
    assert telemetry.points() == {}
    list(stream)
    span = telemetry.span()
    assert span.attributes["gen_ai.request.stream"] is True
    assert span.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert (span.attributes["gen_ai.usage.input_tokens"], span.attributes["gen_ai.usage.output_tokens"]) == (3, 3)
    first = span.attributes["gen_ai.response.time_to_first_chunk"]
    ((attributes, count, seconds),) = telemetry.points()["gen_ai.client.operation.time_to_first_chunk"]
    assert (count, seconds) == (1, first)
    assert "error.type" not in attributes
    assert 0 < first <= telemetry.points()["gen_ai.client.operation.duration"][0][2]


def test_the_metrics_are_those_of_the_convention(make_client, raw_server, telemetry):
    server = raw_server([*STREAM, None])
    list(make_client(KEY, server.url, hooks=[telemetry.hook]).chat_stream(HELLO, "m"))
    seconds = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
    tokens = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
    assert telemetry.bounds() == {
        gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE: ("{token}", tokens),
        gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION: ("s", seconds),
        gen_ai_metrics.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK: ("s", seconds),
    }


def test_a_stream_that_is_closed(make_client, raw_server, telemetry):
    server = raw_server([chunked_head(), *map(chunk, EVENTS[:2]), 30.0])
    with make_client(KEY, server.url, hooks=[telemetry.hook]).chat_stream(HELLO, "m") as stream:
        next(stream)
    span = telemetry.span()
    assert span.status.status_code is StatusCode.UNSET
    assert "gen_ai.response.finish_reasons" not in span.attributes


def test_a_stream_that_breaks(make_client, raw_server, telemetry):
    server = raw_server([chunked_head(), *map(chunk, EVENTS[:2]), reset])
    with pytest.raises(StreamInterrupted):
        list(make_client(KEY, server.url, hooks=[telemetry.hook]).chat_stream(HELLO, "m"))
    span = telemetry.span()
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "StreamInterrupted")
    points = telemetry.points()
    assert points["gen_ai.client.operation.duration"][0][0]["error.type"] == "StreamInterrupted"
    assert "error.type" not in points["gen_ai.client.operation.time_to_first_chunk"][0][0]


def test_an_error_shows_no_words_of_the_server(make_client, raw_server, telemetry):
    server = raw_server([UNAUTHORIZED])
    with pytest.raises(AuthenticationError):
        make_client(KEY, server.url, hooks=[telemetry.hook]).chat(HELLO, "m")
    span = telemetry.span()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert (span.attributes["error.type"], span.attributes["http.response.status_code"]) == ("AuthenticationError", 401)
    assert "gen_ai.client.token.usage" not in telemetry.points()


def test_retries_are_events(make_client, raw_server, telemetry):
    server = raw_server([BUSY], [reset], [OK, None])
    make_client(KEY, server.url, hooks=[telemetry.hook]).chat(HELLO, "m")
    span = telemetry.span()
    assert [(event.name, dict(event.attributes)) for event in span.events] == [
        ("retry", {"http.request.resend_count": 1, "error.type": "RateLimitError"}),
        ("retry", {"http.request.resend_count": 2, "error.type": "MistralConnectionException"}),
    ]
    assert span.status.status_code is StatusCode.UNSET
    parents = {header(request, "traceparent") for request in server.requests}
    context = span.context
    assert parents == {f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}


def test_no_baggage_leaves_the_process_unless_asked_for(raw_server, telemetry):
    server = raw_server([OK, None])
    more = Telemetry(propagator=get_global_textmap())
    token = attach(set_baggage("user", "alice"))
    try:
        for hook in (telemetry.hook, more.hook):
            with MistralClient(KEY, server.url, hooks=[hook]) as client:
                client.chat(HELLO, "m")
    finally:
        detach(token)
    # The context that the span was begun in is where baggage is.
    assert [header(request, "baggage") for request in server.requests] == ["", "user=alice"]


def test_the_span_is_a_child_of_the_current_one_and_is_never_current(raw_server, telemetry):
    server = raw_server([OK, None], [*STREAM, None])
    with (
        MistralClient(KEY, server.url, hooks=[telemetry.hook]) as client,
        telemetry.tracer.start_as_current_span("mine") as mine,
    ):
        client.chat(HELLO, "m")
        with client.chat_stream(HELLO, "m") as stream:
            next(stream)
            assert trace.get_current_span() is mine
    assert [span.parent.span_id for span in telemetry.spans()] == [mine.get_span_context().span_id] * 2
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_do_not_see_each_others_spans(raw_server, telemetry, backend):
    server = raw_server([OK, None])

    async def ask(client, parents):
        with telemetry.tracer.start_as_current_span("task") as mine:
            parents.append(mine.get_span_context().span_id)
            await client.chat(HELLO, "m")
            assert trace.get_current_span() is mine

    async def run():
        parents = []
        client = MistralAsyncClient(KEY, server.url, hooks=[telemetry.hook])
        async with client, anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask, client, parents)
        return parents

    parents = anyio.run(run, backend=backend)
    assert sorted(span.parent.span_id for span in telemetry.spans()) == sorted(parents)


@pytest.mark.parametrize("flavour", ["sync", "asyncio", "trio"])
def test_calls_that_are_made_together_have_the_parent_of_their_flow(raw_server, telemetry, flavour):
    server = raw_server([OK, None])

    def asks():
        return (yield _calls.chat(HELLO, "m", {}))

    def flow():
        yield Together([asks() for _ in range(3)], 2, lambda place, answer: None)

    async def follow():
        async with MistralAsyncClient(KEY, server.url, hooks=[telemetry.hook]) as client:
            with telemetry.tracer.start_as_current_span("mine") as mine:
                await client._follow(flow())
        return mine

    if flavour == "sync":
        with (
            MistralClient(KEY, server.url, hooks=[telemetry.hook]) as client,
            telemetry.tracer.start_as_current_span("mine") as mine,
        ):
            client._follow(flow())
    else:
        mine = anyio.run(follow, backend=flavour)
    assert [span.parent.span_id for span in telemetry.spans()] == [mine.get_span_context().span_id] * 3


CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
TALK = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": "data:x"}],
    },
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "blue", "tool_call_id": "c1", "name": "look"},
]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}

# What the conventions' own schemas of messages require.
_TYPED = {"text": ["content"], "reasoning": ["content"], "tool_call": ["name"], "tool_call_response": ["response"]}
MESSAGES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["role", "parts"],
        "properties": {
            "role": {"type": "string"},
            "parts": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["type"],
                    "allOf": [
                        {"if": {"properties": {"type": {"const": kind}}}, "then": {"required": fields}}
                        for kind, fields in _TYPED.items()
                    ],
                },
            },
        },
    },
}
OUTPUT = {**MESSAGES, "items": {**MESSAGES["items"], "required": ["role", "parts", "finish_reason"]}}


def recorded(span, name):
    messages = json.loads(span.attributes[name])
    validate(messages, OUTPUT if name == "gen_ai.output.messages" else MESSAGES)
    return messages


def test_what_is_said_is_recorded_when_asked_for(make_client, raw_server):
    telemetry = Telemetry(content=True)
    choices = [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
        },
        {
            "index": 1,
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                    {"type": "text", "text": "Blue"},
                ],
            },
        },
    ]
    server = raw_server([http(json.dumps(ANSWER | {"choices": choices}).encode()), None])
    make_client(KEY, server.url, hooks=[telemetry.hook]).chat(TALK, "m", tools=[TOOL], n=2)
    span = telemetry.span()
    called = {"type": "tool_call", "id": "c1", "name": "look", "arguments": '{"at": "sky"}'}
    assert recorded(span, "gen_ai.input.messages") == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {
            "role": "user",
            "parts": [{"type": "text", "content": "What is it?"}, {"type": "image_url", "image_url": "data:x"}],
        },
        {"role": "assistant", "parts": [{"type": "text", "content": ""}, called]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "blue"}]},
    ]
    assert recorded(span, "gen_ai.output.messages") == [
        {"role": "assistant", "parts": [called], "finish_reason": "tool_calls"},
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "Blue"}],
            "finish_reason": "stop",
        },
    ]
    assert json.loads(span.attributes["gen_ai.tool.definitions"]) == [{"type": "function", **TOOL["function"]}]


def test_a_stream_is_recorded_whole(make_client, raw_server):
    telemetry = Telemetry(content=True)
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    pieces = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at'}},
        {"index": 0, "function": {"arguments": '": "sky"}'}},
        {"index": 1, "id": "c2", "type": "function", "function": {"name": "hear", "arguments": "{}"}},
    ]
    events = [
        event({"role": "assistant", "content": [thought]}),
        event({"content": [thought, {"type": "text", "text": "I "}]}),
        event({"content": "see."}),
        *(event({"tool_calls": [piece]}) for piece in pieces),
        event({"content": "Other", "role": "assistant"}, index=1),
        event({}, "tool_calls"),
        event({}, "stop", index=1),
        EVENTS[-1],
    ]
    server = raw_server([chunked_head(), *map(chunk, events), b"0\r\n\r\n"])
    list(make_client(KEY, server.url, hooks=[telemetry.hook]).chat_stream(HELLO, "m"))
    assert recorded(telemetry.span(), "gen_ai.output.messages") == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "Hm.Hm."},
                {"type": "text", "content": "I see."},
                {"type": "tool_call", "id": "c1", "name": "look", "arguments": '{"at": "sky"}'},
                {"type": "tool_call", "id": "c2", "name": "hear", "arguments": "{}"},
            ],
            "finish_reason": "tool_calls",
        },
        {"role": "assistant", "parts": [{"type": "text", "content": "Other"}], "finish_reason": "stop"},
    ]
    assert telemetry.span().attributes["gen_ai.response.finish_reasons"] == ("tool_calls", "stop")


def test_of_a_stream_that_breaks_is_recorded_what_came(make_client, raw_server):
    telemetry = Telemetry(content=True)
    server = raw_server([chunked_head(), *map(chunk, EVENTS[:2]), reset])
    with pytest.raises(StreamInterrupted) as raised:
        list(make_client(KEY, server.url, hooks=[telemetry.hook]).chat_stream(HELLO, "m"))
    assert recorded(telemetry.span(), "gen_ai.output.messages") == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Camem"}], "finish_reason": "error"}
    ]
    assert telemetry.span().status.description == str(raised.value)


def test_a_completion_is_recorded(make_client, raw_server):
    telemetry = Telemetry(content=True)
    server = raw_server([OK, None])
    make_client(KEY, server.url, hooks=[telemetry.hook]).completion("m", "def f(", "return 1")
    assert recorded(telemetry.span(), "gen_ai.input.messages") == [
        {"role": "user", "parts": [{"type": "text", "content": "def f("}, {"type": "text", "content": "return 1"}]}
    ]
    assert "gen_ai.tool.definitions" not in telemetry.span().attributes


ASKED = {"": False, "false": False, "NO_CONTENT": False, "EVENT_ONLY": False, "true": True, "SPAN_ONLY": True}


@pytest.mark.parametrize(("value", "wanted"), [(None, False), *ASKED.items(), ("span_and_event", True)])
def test_the_environment_asks_for_it(raw_server, monkeypatch, value, wanted):
    if value is not None:
        monkeypatch.setenv(CONTENT, value)
    telemetry = Telemetry()
    server = raw_server([*STREAM, None])
    with MistralClient(KEY, server.url, hooks=[telemetry.hook]) as client:
        assert text_of(client.chat_stream(HELLO, "m")) == TEXT
    seen = telemetry.span().attributes.keys() & {"gen_ai.input.messages", "gen_ai.output.messages"}
    assert len(seen) == 2 * wanted
    assert (TEXT in str(telemetry.span().to_json())) <= wanted


def test_the_argument_goes_before_the_environment(raw_server, monkeypatch):
    monkeypatch.setenv(CONTENT, "true")
    telemetry = Telemetry(content=False)
    server = raw_server([OK, None])
    with MistralClient(KEY, server.url, hooks=[telemetry.hook]) as client:
        client.chat(HELLO, "m")
    assert "gen_ai.input.messages" not in telemetry.span().attributes


def test_no_key_is_in_what_is_recorded(make_client, raw_server):
    telemetry = Telemetry(content=True)
    server = raw_server([http(json.dumps({"message": f"no {KEY}"}).encode(), "500 No")])
    with pytest.raises(ServerError):
        make_client(KEY, server.url, 0, hooks=[telemetry.hook]).chat(HELLO, "m")
    assert KEY not in telemetry.span().to_json()
    assert "no ***" in telemetry.span().status.description


def test_what_cannot_be_recorded_fails_no_call(make_client, raw_server, caplog):
    telemetry = Telemetry(content=True)
    server = raw_server([OK, None])
    client = make_client(KEY, server.url, hooks=[telemetry.hook])
    assert client.chat(HELLO, "m", extra_body={"messages": 5}).choices[0].message.content == "hi"
    assert [record.getMessage() for record in caplog.records] == ["a span was not begun"]
    assert telemetry.spans() == []


def test_a_server_without_a_port_in_its_address(telemetry):
    for url, seen in {
        "https://api.mistral.ai": ("api.mistral.ai", 443),
        "http://example.org": ("example.org", 80),
        "local": (None, None),
    }.items():
        path = "/v1/chat/completions"
        call = CallInfo("POST", path, url + path, b'{"model":"m"}')
        telemetry.hook.before_request(RequestInfo(call, 1, "POST", call.url, {}))
        telemetry.hook.after_call(call)
        span = telemetry.spans()[-1]
        assert (span.attributes.get("server.address"), span.attributes.get("server.port")) == seen


def test_a_call_that_never_comes_to_a_request_is_recorded_with_all_its_time(make_client, raw_server, telemetry):
    class Refusing(Hooks):
        def before_request(self, request):
            raise PermissionError

    server = raw_server([OK])
    with pytest.raises(PermissionError):
        make_client(KEY, server.url, hooks=[Refusing(), telemetry.hook]).chat(HELLO, "m")
    assert telemetry.span().attributes["error.type"] == "PermissionError"
    assert server.requests == []
    call = CallInfo("POST", "/v1/embeddings", "local/v1/embeddings", b'{"model":"m"}', seconds=60.0)
    telemetry.hook.after_call(call)
    span = telemetry.spans()[-1]
    assert span.end_time - span.start_time >= 60e9


def test_two_of_them_do_not_meet(raw_server, telemetry):
    other = Telemetry()
    server = raw_server([OK, None])
    with MistralClient(KEY, server.url, hooks=[telemetry.hook, other.hook]) as client:
        client.chat(HELLO, "m")
    assert telemetry.span().context.span_id != other.span().context.span_id


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
import mistral_client
from mistral_client import *
try:
    import mistral_client.otel
except ImportError:
    pass
else:
    raise SystemExit("it was imported")
"""


def test_only_its_users_need_opentelemetry():
    subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT], check=True, timeout=60)
