"""A span for each call, by OpenTelemetry. Here they are printed; in earnest an exporter sends them to a collector."""

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from mistral_client import ChatMessage, MistralClient
from mistral_client.otel import OpenTelemetry


def line(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    return f"{span.name}: {attributes.get('gen_ai.usage.output_tokens', 'no')} tokens\n"


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))

messages = [ChatMessage(role="user", content="Write one sentence about the sea.")]

with (
    MistralClient(endpoint="local", hooks=[OpenTelemetry(tracer_provider=provider)]) as client,
    provider.get_tracer("examples").start_as_current_span("a story"),
):
    client.chat(model="mistral-small", messages=messages, max_tokens=40)
    list(client.chat_stream(model="mistral-small", messages=messages, max_tokens=40))
