"""Spans and metrics of calls for OpenTelemetry, as its conventions for generative AI want them.

https://github.com/open-telemetry/semantic-conventions-genai, in the names of
https://opentelemetry.io/docs/specs/semconv/gen-ai/ 1.41.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider, get_tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from pydantic import BaseModel

from ._version import __version__
from .hooks import AttemptInfo, CallInfo, Hooks, RequestInfo

CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The variable by which OpenTelemetry's instrumentations are told whether to record prompts and answers."""

_logger = logging.getLogger("mistral_client")
_SECONDS = [0.01 * 2**n for n in range(14)]  # bounds of buckets, as the convention gives them


class OpenTelemetry(Hooks):
    """Gives each call of a model a span and adds it to the metrics: `MistralClient(hooks=[OpenTelemetry()])`.

    tracer_provider, meter_provider: those that are set for the process, unless given.
    content: whether spans hold prompts, answers and tools; by default as `CONTENT` in the environment says.
    propagator: writes the span's context into the headers of requests; by default `traceparent` and `tracestate`, so
        that no baggage leaves the process.

    A span lasts as long as its call: with its retries, and a stream until its end. It is never the current span, so
    nothing of it is left in a task or thread.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        content: bool | None = None,
        propagator: TextMapPropagator | None = None,
    ) -> None:
        self._tracer = get_tracer("mistral_client", __version__, tracer_provider)
        meter = get_meter("mistral_client", __version__, meter_provider)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=[4**n for n in range(14)],
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time to receive the first chunk of a stream, from when the request was issued.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._content = _wanted(os.environ.get(CONTENT, "")) if content is None else content
        self._propagator = propagator or TraceContextTextMapPropagator()

    def before_request(self, request: RequestInfo) -> None:
        """Begin the span with the first request; of a retry, an event tells."""
        try:
            observed = self._observed(request.call)
            if observed is not None:
                if request.number > 1:
                    failed = {"error.type": observed.failed} if observed.failed else {}
                    observed.span.add_event("retry", {"http.request.resend_count": request.number - 1, **failed})
                self._propagator.inject(request.headers, observed.context)
        except Exception:
            # What is not recorded is no reason for a call to fail.
            _logger.exception("a span was not begun")

    def after_attempt(self, attempt: AttemptInfo) -> None:
        """Keep why a retry follows, and the status."""
        observed = self._observed(attempt.call)
        if observed is not None:
            observed.failed = None if attempt.error is None else type(attempt.error).__name__
            if attempt.status is not None:
                observed.span.set_attribute("http.response.status_code", attempt.status)

    def on_chunk(self, call: CallInfo, chunk: BaseModel) -> None:
        """Keep what the chunk adds to the answer, where that is to be recorded."""
        observed = self._observed(call) if self._content else None
        if observed is not None:
            for choice in chunk.model_dump(mode="json", exclude_none=True)["choices"]:
                observed.answers.setdefault(choice["index"], _Answer()).add(choice)

    def after_call(self, call: CallInfo) -> None:
        """End the span, and measure."""
        observed = self._observed(call)
        if observed is None:
            return
        span, context, common = observed.span, observed.context, observed.common
        if call.model is not None:
            common["gen_ai.response.model"] = call.model
        more: dict[str, AttributeValue] = {}
        for kind, count in _tokens(call):
            more[f"gen_ai.usage.{kind}_tokens"] = count
            self._tokens.record(count, {**common, "gen_ai.token.type": kind}, context)
        if call.first_chunk is not None:
            more["gen_ai.response.time_to_first_chunk"] = call.first_chunk
            self._first_chunk.record(call.first_chunk, {**common}, context)
        if call.error is not None:
            common["error.type"] = type(call.error).__name__
            # The words of an error may be the server's, and those may be the prompt.
            span.set_status(StatusCode.ERROR, str(call.error) if self._content else None)
        self._duration.record(call.seconds, {**common}, context)
        if call.id is not None:
            more["gen_ai.response.id"] = call.id
        if call.finish_reasons:
            more["gen_ai.response.finish_reasons"] = call.finish_reasons
        if self._content and (answers := _answered(call, observed.answers)):
            more["gen_ai.output.messages"] = _json(answers)
        span.set_attributes(common | more)
        span.end()

    def _observed(self, call: CallInfo) -> _Observed | None:
        """None for a call without a model, and where the span could not be begun."""
        if self not in call.state:
            call.state[self] = None
            if call.path in _OPERATIONS:
                call.state[self] = self._begun(call)
        observed: _Observed | None = call.state[self]
        return observed

    def _begun(self, call: CallInfo) -> _Observed:
        arguments = call.arguments
        operation, model = _OPERATIONS[call.path], str(arguments.get("model"))
        common: dict[str, AttributeValue] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "mistral_ai",
            "gen_ai.request.model": model,
            **_server(call.url),
        }
        attributes = common | dict(_asked(arguments))
        if self._content:
            attributes |= {name: _json(value) for name, value in _said(arguments).items() if value}
        # A call may have waited before its first request.
        began = time.time_ns() - int(call.seconds * 1e9)
        span = self._tracer.start_span(
            f"{operation} {model}", kind=SpanKind.CLIENT, attributes=attributes, start_time=began
        )
        return _Observed(span, set_span_in_context(span), common)


class _Answer:
    """One answer of a stream, as far as it came: a message of the convention."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._reason: str | None = None

    def add(self, choice: Mapping[str, Any]) -> None:
        delta = choice["delta"]
        for part in _parts(delta.get("content")):
            last = self._parts[-1] if self._parts else {}
            if part["type"] == last.get("type") and part["type"] in {"text", "reasoning"}:
                last["content"] += part["content"]
            else:
                self._parts.append(part)
        for call in delta.get("tool_calls") or ():
            self._add_call(call)
        self._reason = choice.get("finish_reason", self._reason)

    def _add_call(self, call: dict[str, Any]) -> None:
        """Some servers send a call in pieces: its name first, then more and more of its arguments."""
        more = call["function"]
        for known in self._calls:
            if not more.get("name") and call.get("index") == known.get("index"):
                known["function"]["arguments"] += more.get("arguments", "")
                return
        self._calls.append(call)

    def message(self) -> dict[str, Any]:
        parts = [*self._parts, *map(_call_part, self._calls)]
        return {"role": "assistant", "parts": parts, "finish_reason": self._reason or "error"}


@dataclass(slots=True)
class _Observed:
    """A call while it runs.

    common: attributes of its span and of what is measured. failed: the type of the last attempt's error.
    """

    span: Span
    context: Context
    common: dict[str, AttributeValue]
    failed: str | None = None
    answers: dict[int, _Answer] = field(default_factory=dict)


def _wanted(value: str) -> bool:
    return value.strip().lower() in {"true", "span_only", "span_and_event"}


def _server(url: str) -> dict[str, AttributeValue]:
    """Nothing in local mode, where there is no server to be reached."""
    parts = urlsplit(url)
    if parts.hostname is None:
        return {}
    return {"server.address": parts.hostname, "server.port": parts.port or (443 if parts.scheme == "https" else 80)}


def _tokens(call: CallInfo) -> Iterator[tuple[str, int]]:
    if call.usage is not None:
        yield "input", call.usage.prompt_tokens
        if call.usage.completion_tokens is not None:
            yield "output", call.usage.completion_tokens


def _asked(arguments: Mapping[str, Any]) -> Iterator[tuple[str, AttributeValue]]:
    """The parameters of a request."""
    for name, attribute in _PARAMETERS.items():
        value = arguments.get(name)
        if isinstance(value, bool | int | float | str):
            yield attribute, value
    if arguments.get("n", 1) != 1:
        yield "gen_ai.request.choice.count", arguments["n"]
    if stop := arguments.get("stop"):
        yield "gen_ai.request.stop_sequences", [stop] if isinstance(stop, str) else stop
    if encoding := arguments.get("encoding_format"):
        yield "gen_ai.request.encoding_formats", [encoding]
    if wanted := arguments.get("response_format"):
        yield "gen_ai.output.type", "text" if wanted.get("type") == "text" else "json"


def _said(arguments: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What a request tells the model: the conversation, or the text to complete, and the tools."""
    messages = arguments.get("messages")
    if messages is None and "prompt" in arguments:
        texts = [arguments["prompt"], arguments.get("suffix")]
        messages = [{"role": "user", "content": [{"type": "text", "text": text} for text in texts if text]}]
    return {
        "gen_ai.input.messages": [_message(message) for message in messages or ()],
        "gen_ai.tool.definitions": [
            {"type": tool.get("type"), **tool.get("function", {})} for tool in arguments.get("tools") or ()
        ],
    }


def _answered(call: CallInfo, streamed: Mapping[int, _Answer]) -> list[dict[str, Any]]:
    choices: Sequence[Any] = getattr(call.answer, "choices", ())
    whole = [choice.model_dump(mode="json", exclude_none=True) for choice in choices]
    return [
        *({**_message(choice["message"]), "finish_reason": choice.get("finish_reason", "error")} for choice in whole),
        *(streamed[index].message() for index in sorted(streamed)),
    ]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-input-messages.json"""
    role, content = message.get("role", "assistant"), message.get("content")
    if role == "tool":
        parts = [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}]
    else:
        parts = [*_parts(content), *map(_call_part, message.get("tool_calls") or ())]
    return {"role": role, "parts": parts}


def _parts(content: str | Sequence[Mapping[str, Any]] | None) -> Iterator[dict[str, Any]]:
    """Content that the convention has no type for keeps its own, which it allows."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for chunk in content or ():
        if chunk["type"] == "text":
            yield {"type": "text", "content": chunk["text"]}
        elif chunk["type"] == "thinking":
            thoughts = [part.get("text", "") for part in chunk["thinking"] if isinstance(part, dict)]
            yield {"type": "reasoning", "content": "".join(thoughts)}
        else:
            yield {**chunk}


def _call_part(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {
        "type": "tool_call",
        "id": call.get("id"),
        "name": function.get("name", ""),
        "arguments": function.get("arguments"),
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/fim/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
"""Other calls have no model at work, and so no span."""

_PARAMETERS = {
    "stream": "gen_ai.request.stream",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "random_seed": "gen_ai.request.seed",
    "output_dimension": "gen_ai.embeddings.dimension.count",
}
