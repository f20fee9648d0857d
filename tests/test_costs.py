"""What a call costs, counted and not timed: calls of functions and blocks of memory for each chunk of a stream."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mistral_client._sse import encode_event

from .conftest import chunk, chunked_head
from .test_chunks import event

CHUNKS = 2000

COUNTED = """
import gc, sys
from mistral_client import Mistral, MistralClient

asked = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
if sys.argv[2] == "early":
    client = MistralClient("key", sys.argv[1])
    stream = client.chat_stream(**asked)
else:
    client = Mistral("key", server_url=sys.argv[1])
    stream = client.chat.stream(**asked)
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
def counted(raw_server, style):
    words = chunk(event({"content": "word "})) * CHUNKS
    end = chunk(event({"content": ""}, "stop")) + chunk(encode_event("[DONE]")) + chunk(b"")
    server = raw_server([chunked_head(), words, end])
    program = [sys.executable, "-c", COUNTED, server.url, style]
    ran = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    return [float(number) for number in ran.stdout.split()]


@pytest.mark.parametrize(("style", "most"), [("early", 13), ("later", 15)])
def test_a_chunk_takes_few_calls_and_leaves_nothing(counted, most):
    """In the later style two more: for the event around the chunk."""
    calls, blocks = counted
    assert calls < most
    assert blocks < 1


WITHOUT_EVENT_LOOPS = """
import sys
sys.modules["trio"] = None  # httpcore imports it where it is installed
from mistral_client import MistralClient

with MistralClient("key", sys.argv[1]) as client:
    list(client.chat_stream([{"role": "user", "content": "hello"}], "m"))
print("asyncio" in sys.modules)
"""


def test_a_synchronous_client_imports_no_event_loop(raw_server):
    answer = chunk(event({"content": "word"}, "stop")) + chunk(encode_event("[DONE]")) + chunk(b"")
    server = raw_server([chunked_head(), answer])
    program = [sys.executable, "-c", WITHOUT_EVENT_LOOPS, server.url]
    assert subprocess.run(program, capture_output=True, text=True, check=True, timeout=60).stdout == "False\n"
