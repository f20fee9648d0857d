"""httpx with nothing around it: the same requests, and the answers as dicts."""

import json

import httpx
import work as w

client = httpx.Client()
HEADERS = {"Authorization": f"Bearer {w.KEY}"}
client.headers.update(HEADERS)
CHAT = f"{w.URL}/v1/chat/completions"


def chat(messages=w.MESSAGES, model=w.CHAT):
    return client.post(CHAT, json={"model": model, "messages": messages}).json()["choices"][0]["message"]["content"]


def stream(model):
    count = 0
    with client.stream("POST", CHAT, json={"model": model, "messages": w.MESSAGES, "stream": True}) as response:
        for line in response.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                count += json.loads(line[6:])["choices"][0]["delta"]["content"] is not None
    return count


def embed(encoding):
    body = {"model": w.EMBED, "input": w.TEXTS, "encoding_format": encoding}
    return len(client.post(f"{w.URL}/v1/embeddings", json=body).json()["data"])


there = httpx.AsyncClient(headers=HEADERS, limits=httpx.Limits(max_connections=100))


async def achat():
    answer = await there.post(CHAT, json={"model": w.CHAT, "messages": w.MESSAGES})
    return bool(answer.json()["choices"][0]["message"]["content"])


async def astream(model=w.STREAM):
    count = 0
    body = {"model": model, "messages": w.MESSAGES, "stream": True}
    async with there.stream("POST", CHAT, json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                count += json.loads(line[6:])["choices"][0]["delta"]["content"] is not None
    return count


w.contend(
    chat=w.repeated(chat),
    long_chat=w.repeated(lambda: chat(w.LONG, w.LONG_CHAT)),
    stream=w.streamed(lambda: stream(w.STREAM)),
    long_stream=w.streamed(lambda: stream(w.LONG_STREAM)),
    lumps=w.streamed(lambda: stream(w.LUMPS)),
    async_stream=w.streamed_async(astream),
    streams_at_once=w.at_once(astream, w.STREAMS),
    chats_at_once=w.at_once(achat, w.CALLS),
    embed_floats=w.repeated(lambda: embed("float")),
    embed_base64=w.repeated(lambda: embed("base64")),
)
