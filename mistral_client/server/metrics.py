"""What the server measures, in the text format of Prometheus and under the names that vLLM made common.

https://docs.vllm.ai/en/latest/usage/metrics.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .engine import Generation, Piece
from .inspector.call import Call

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REQUEST = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640)
_BETWEEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)


class Metrics:
    """What a server measures of all its models."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, ["model_name"], buckets=buckets, registry=self._registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["model_name"], registry=self._registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ["model_name", *labels], registry=self._registry)

        self._running = gauge("vllm:num_requests_running", "Requests that have a slot.")
        self._waiting = gauge("vllm:num_requests_waiting", "Requests in the queue.")
        self._first = histogram("vllm:time_to_first_token_seconds", "From the request to its first token.", _FIRST)
        self._between = histogram("vllm:inter_token_latency_seconds", "From one token to the next.", _BETWEEN)
        self._whole = histogram("vllm:e2e_request_latency_seconds", "From the request to its last token.", _REQUEST)
        self._queued = histogram("vllm:request_queue_time_seconds", "In the queue.", _REQUEST)
        self._prompt = counter("vllm:prompt_tokens", "Tokens of prompts.")
        self._generated = counter("vllm:generation_tokens", "Tokens of answers.")
        self._success = counter("vllm:request_success", "Requests that were answered.", "finished_reason")
        self._rejected = counter("mistral_client:requests_rejected", "Requests that were turned away.", "code")

    def of(self, model: str, running: Callable[[], int], waiting: Callable[[], int]) -> ModelMetrics:
        """The figures of one model; `running` and `waiting` are asked when somebody looks."""
        self._running.labels(model).set_function(running)
        self._waiting.labels(model).set_function(waiting)
        for reason in ("stop", "length", "model_length"):
            self._success.labels(model, reason)
        return ModelMetrics(
            self._first.labels(model),
            self._between.labels(model),
            self._whole.labels(model),
            self._queued.labels(model),
            self._prompt.labels(model),
            self._generated.labels(model),
            lambda reason: self._success.labels(model, reason).inc(),
            lambda code: self._rejected.labels(model, code).inc(),
        )

    def samples(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """Each figure: its name, its labels, its value."""
        for family in self._registry.collect():
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value

    def text(self) -> bytes:
        """The body of `GET /metrics`."""
        return generate_latest(self._registry)


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """The figures of one model. May be used from any thread."""

    first: Histogram
    between: Histogram
    whole: Histogram
    queued: Histogram
    prompt: Counter
    generated: Counter
    finished: Callable[[str], None]
    """One answer more that ended for this reason."""
    rejected: Callable[[str], None]
    """One request more that was turned away with this code."""


class Observation:
    """The times of one request, from here on."""

    def __init__(self, metrics: ModelMetrics, spend: Callable[[int], object], call: Call | None = None) -> None:
        """call: where to write it down, for the inspector."""
        self._metrics = metrics
        self._call = call
        self._spend = spend
        """Told how many tokens the answer took."""
        self._begun = time.monotonic()
        self._latest: float | None = None

    def started(self) -> None:
        """It has a slot."""
        self._metrics.queued.observe(time.monotonic() - self._begun)
        if self._call is not None:
            self._call.run()

    def token(self, number: int, piece: Piece) -> None:
        """Text of the n-th answer has come."""
        now = time.monotonic()
        if self._call is not None:
            self._call.take(number, now, piece)
        if self._latest is None:
            self._metrics.first.observe(now - self._begun)
        else:
            self._metrics.between.observe(now - self._latest)
        self._latest = now

    def whole(self, number: int, text: str) -> None:
        """The n-th answer came in one piece, of which nothing is measured."""
        if self._call is not None:
            self._call.take(number, time.monotonic(), Piece(text))

    def ended(self, generations: list[Generation]) -> None:
        """It was answered in full."""
        self._metrics.whole.observe(time.monotonic() - self._begun)
        if self._call is not None:
            self._call.count(generations)
        self._metrics.prompt.inc(generations[0].prompt_tokens)
        for generation in generations:
            self._metrics.generated.inc(generation.completion_tokens)
            self._metrics.finished(generation.finish_reason)
            self._spend(generation.completion_tokens)
