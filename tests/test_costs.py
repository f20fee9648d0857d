"""What a call costs, counted and not timed: calls of functions and blocks of memory for each chunk of a stream."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .conftest import chunk, chunked_head

CHUNKS = 2000

COUNTED = """
import gc, sys
from mistral_client import MistralClient

client = MistralClient("key", sys.argv[1])
stream = client.chat_stream([{"role": "user", "content": "hello"}], "m")
for _ in zip(range(100), stream):
    pass  # what is looked up once is there now
calls = 0

def count(frame, event, argument):
    global calls
    calls += event == "call"

gc.collect()
blocks, read = sys.getallocatedblocks(), 0
sys.setprofile(count)
for part in stream:
    read += 1
    if read == CHUNKS - 200:
        break
sys.setprofile(None)
gc.collect()
print(calls / read, (sys.getallocatedblocks() - blocks) / read)
""".replace("CHUNKS", str(CHUNKS))


@pytest.fixture
def counted(raw_server):
    text = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
    event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [text]}
    events = chunk(b"data: " + json.dumps(event).encode() + b"\n\n") * CHUNKS
    end = chunk(b"data: " + json.dumps(event | {"choices": [text | {"finish_reason": "stop"}]}).encode() + b"\n\n")
    server = raw_server([chunked_head(), events, end, chunk(b"data: [DONE]\n\n"), chunk(b"")])
    program = [sys.executable, "-c", COUNTED, server.url]
    ran = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    return [float(number) for number in ran.stdout.split()]


def test_a_chunk_takes_few_calls_and_leaves_nothing(counted):
    calls, blocks = counted
    assert calls < 13
    assert blocks < 1
