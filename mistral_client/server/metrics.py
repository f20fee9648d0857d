"""What the server measures, in the text format of Prometheus and under the names that vLLM made common.

https://docs.vllm.ai/en/latest/usage/metrics.html
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .engine import Generation

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REQUEST = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640)
_BETWEEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)


class Metrics:
    """The figures of one model. May be used from any thread."""

    def __init__(self, model: str, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._model = model

        def gauge(name: str, text: str, value: Callable[[], int]) -> None:
            Gauge(name, text, ["model_name"], registry=self._registry).labels(model).set_function(value)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ["model_name", *labels], registry=self._registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, ["model_name"], buckets=buckets, registry=self._registry).labels(model)

        gauge("vllm:num_requests_running", "Requests that have a slot.", running)
        gauge("vllm:num_requests_waiting", "Requests in the queue.", waiting)
        self.first = histogram("vllm:time_to_first_token_seconds", "From the request to its first token.", _FIRST)
        self.between = histogram("vllm:inter_token_latency_seconds", "From one token to the next.", _BETWEEN)
        self.whole = histogram("vllm:e2e_request_latency_seconds", "From the request to its last token.", _REQUEST)
        self.queued = histogram("vllm:request_queue_time_seconds", "In the queue.", _REQUEST)
        self.prompt = counter("vllm:prompt_tokens", "Tokens of prompts.").labels(model)
        self.generated = counter("vllm:generation_tokens", "Tokens of answers.").labels(model)
        self._success = counter("vllm:request_success", "Requests that were answered.", "finished_reason")
        self._rejected = counter("mistral_client:requests_rejected", "Requests that were turned away.", "code")
        for reason in ("stop", "length", "model_length"):
            self._success.labels(model, reason)

    def text(self) -> bytes:
        """The body of `GET /metrics`."""
        return generate_latest(self._registry)

    def finished(self, reason: str) -> None:
        """One answer more that ended for this reason."""
        self._success.labels(self._model, reason).inc()

    def rejected(self, code: str) -> None:
        """One request more that was turned away with this code."""
        self._rejected.labels(self._model, code).inc()


class Observation:
    """The times of one request, from here on."""

    def __init__(self, metrics: Metrics, spend: Callable[[int], object]) -> None:
        self._metrics = metrics
        self._spend = spend
        """Told how many tokens the answer took."""
        self._begun = time.monotonic()
        self._latest: float | None = None

    def started(self) -> None:
        """It has a slot."""
        self._metrics.queued.observe(time.monotonic() - self._begun)

    def token(self) -> None:
        """Text has come."""
        now = time.monotonic()
        if self._latest is None:
            self._metrics.first.observe(now - self._begun)
        else:
            self._metrics.between.observe(now - self._latest)
        self._latest = now

    def ended(self, generations: list[Generation]) -> None:
        """It was answered in full."""
        self._metrics.whole.observe(time.monotonic() - self._begun)
        self._metrics.prompt.inc(generations[0].prompt_tokens)
        for generation in generations:
            self._metrics.generated.inc(generation.completion_tokens)
            self._metrics.finished(generation.finish_reason)
            self._spend(generation.completion_tokens)
