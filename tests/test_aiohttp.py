"""The asynchronous client over aiohttp, by the transport of httpx-aiohttp: the same answers, and the same faults."""

from __future__ import annotations

import json

import pytest
from httpx_aiohttp import AiohttpTransport

from mistral_client import (
    MistralAsyncClient,
    MistralConnectionException,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
)
from mistral_client._sse import encode_event

from .conftest import HELLO, chunk, chunked_head, http, reset
from .test_chunks import event
from .test_exchange import ANSWER

pytestmark = pytest.mark.asyncio


WORD = chunk(event({"content": "word "}))
LAST = chunk(event({"content": "word "}, "stop"))
WHOLE = [chunked_head(), WORD, LAST, chunk(encode_event("[DONE]")), chunk(b"")]


def client(url, **options):
    return MistralAsyncClient("key", url, transport=AiohttpTransport(), **{"max_retries": 0, **options})


async def test_a_call_and_a_stream(raw_server):
    server = raw_server([http(json.dumps(ANSWER).encode()), None], WHOLE)
    async with client(server.url) as asked:
        answer = await asked.chat(HELLO, "m")
        assert answer.choices[0].message.content == ANSWER["choices"][0]["message"]["content"]
        texts = [part.choices[0].delta.content async for part in asked.chat_stream(HELLO, "m")]
    assert texts == ["word ", "word "]
    assert server.connections == 1
    assert b"authorization: bearer key" in server.requests[0].lower()


async def test_a_busy_server_is_asked_again(raw_server):
    busy = http(b"{}", "503 Service Unavailable", "application/json", "retry-after: 0")
    server = raw_server([busy, None], [http(json.dumps(ANSWER).encode())])
    async with client(server.url, max_retries=2) as asked:
        assert (await asked.chat(HELLO, "m")).id == ANSWER["id"]
    assert len(server.requests) == 2


@pytest.mark.parametrize("end", [[], [reset]], ids=["closed", "reset"])
async def test_a_stream_that_is_cut(raw_server, end):
    async with client(raw_server([chunked_head(), WORD, 0.1, *end]).url) as asked:
        with pytest.raises(StreamInterrupted) as caught:
            async for _ in asked.chat_stream(HELLO, "m"):
                pass
    assert caught.value.text == "word "


async def test_silence(raw_server):
    async with client(raw_server([5.0]).url, timeout=0.2) as asked:
        with pytest.raises(RequestTimeout):
            await asked.chat(HELLO, "m")


async def test_an_error_and_nobody_there(raw_server):
    server = raw_server([http(b'{"message": "broken"}', "500 Internal Server Error")])
    async with client(server.url) as asked:
        with pytest.raises(ServerError, match="broken"):
            await asked.chat(HELLO, "m")
        server.close()
        with pytest.raises(MistralConnectionException):
            await asked.chat(HELLO, "m")
