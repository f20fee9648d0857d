"""`mistral-client deploy`, as a process: a cluster of this machine alone, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from mistral_client import MistralClient

from .two_nodes import messages


@pytest.fixture(scope="module")
def process(baby):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "mistral_client.cli", "deploy", "--model", str(baby), "--port", port]
    command += ["--replicas", "2", "--cpus", "0.4", "--slots", "2", "--threads", "1", "--grace", "30"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as started:
        yield started
        started.kill()


def test_it_serves_and_sigterm_lets_answers_end(process):
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search(r"MISTRAL_ENDPOINT=(http://\S+)", line):
            break
    else:
        pytest.fail(said)
    drained = threading.Thread(target=process.stderr.read)
    drained.start()
    url = found[1]
    assert httpx.get(url + "/health").json()["status"] == "ok"
    with MistralClient(endpoint=url, max_retries=0) as client:
        long = {"model": "mistral-small", "max_tokens": 1500, "temperature": 0}
        with client.chat_stream(messages("hello"), **long) as chunks:
            next(chunks)
            process.send_signal(signal.SIGTERM)
            read = list(chunks)
    assert read[-1].choices[0].finish_reason == "length"
    assert process.wait(90) == 0
    drained.join(20)
    with pytest.raises(httpx.HTTPError):
        httpx.get(url + "/health")


MISTAKES = {
    "more at least than at most": (["--replicas", "3", "--max-replicas", "2"], "max_replicas is less than replicas"),
    "open to all": (["--host", "0.0.0.0"], "there it needs a key"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(arguments, said):
    command = [sys.executable, "-m", "mistral_client.cli", "deploy", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert said in ended.stderr.splitlines()[-1]
