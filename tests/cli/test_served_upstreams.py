"""`mistral-client serve --upstream`, as a process and by its mistakes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from mistral_client import MistralClient
from tests.conftest import HELLO
from tests.server.upstream.other_server import MODEL, OtherServer, answer


def run(*arguments, environment=None):
    command = [sys.executable, "-m", "mistral_client.cli", "serve", "--port", "0", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def other():
    server = OtherServer(answer({"content": "Paris."}))
    yield server
    server.close()


def test_a_server_in_front_of_another(other, monkeypatch):
    monkeypatch.setenv("MISTRAL_UPSTREAM_KEY", "their-key")
    process = run("--upstream", other.url + "/v1", "--alias", f"our-model={MODEL}")
    try:
        line = process.stderr.readline()
        url = re.search(r"listens on (http://\S+);", line)[1]
        assert line.startswith(f"Mistral's wire for {other.url}/v1 listens on")
        with MistralClient(endpoint=url) as client:
            assert [card.id for card in client.list_models().data] == [MODEL, "our-model"]
            assert client.chat(HELLO, "our-model").choices[0].message.content == "Paris."
    finally:
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(20) == 0
        process.stderr.close()
    assert b"authorization: bearer their-key" in other.requests[0].lower()


MISTAKES = {
    "no URL": (["--upstream", "nowhere"], "--upstream: the endpoint is neither"),
    "a model too": (["--upstream", "http://x", "--model", "y.gguf"], "models and sizes do not go with it"),
    "a dialect": (["--upstream", "http://x", "--upstream-dialect", "welsh"], "none of vllm, sglang, llama.cpp, openai"),
    "an alias": (["--upstream", "http://x", "--alias", "y"], "--alias y is not NAME=MODEL"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(arguments, said):
    process = run(*arguments)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said in told
    assert len(told.splitlines()) == 1
