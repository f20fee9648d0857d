"""What `/metrics` says after calls of which it is known how they went."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mistral_client.server.loading import Loaded
from mistral_client.server.local import LocalServer, SyncTransport
from tests.server.test_app import EchoEngine, eventually, say


@pytest.fixture
def engine():
    return EchoEngine()


@pytest.fixture
def http(engine):
    server = LocalServer(lambda: Loaded("echo", "Repeats.", engine))
    server.start()
    with httpx.Client(transport=SyncTransport(server), base_url="http://local") as http:
        yield http
    server.close()


def chat(http, text, **more):
    return http.post("/v1/chat/completions", json={"model": "echo", "messages": say(text), **more})


def figures(http):
    answer = http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "model_name"}
            assert sample.labels["model_name"] == "echo"
            found[sample.name, *labels.values()] = sample.value
    return found


def test_tokens_times_and_reasons(http):
    usage = chat(http, "one two three").json()["usage"]
    chat(http, "one two three", max_tokens=2, stream=True)
    seen = figures(http)
    assert seen["vllm:request_success_total", "stop"] == 1
    assert seen["vllm:request_success_total", "length"] == 1
    assert seen["vllm:prompt_tokens_total",] == 2 * usage["prompt_tokens"]
    assert seen["vllm:generation_tokens_total",] == 5
    assert seen["vllm:time_to_first_token_seconds_count",] == 2
    assert seen["vllm:inter_token_latency_seconds_count",] == 3
    assert seen["vllm:e2e_request_latency_seconds_count",] == 2
    assert seen["vllm:request_queue_time_seconds_count",] == 2
    assert 0 < seen["vllm:e2e_request_latency_seconds_sum",] < 60
    assert (seen["vllm:num_requests_running",], seen["vllm:num_requests_waiting",]) == (0, 0)


def test_who_runs_and_who_is_turned_away(http, engine):
    engine.pause = 0.01
    with http.stream(
        "POST", "/v1/chat/completions", json={"model": "echo", "messages": say("forever"), "stream": True}
    ):
        eventually(lambda: figures(http)["vllm:num_requests_running",] == 1)
    eventually(lambda: figures(http)["vllm:num_requests_running",] == 0)
    http._transport._server._app.state.models.refuse()
    assert chat(http, "hello").status_code == 503
    seen = figures(http)
    assert seen["mistral_client:requests_rejected_total", "1100"] == 1
    assert seen["vllm:request_success_total", "stop"] == 0, "who left was not answered"
