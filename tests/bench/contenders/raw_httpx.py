"""httpx with nothing around it: the same requests, and the answers as dicts."""

import json

import httpx
import work as w

HEADERS = {"Authorization": f"Bearer {w.KEY}"}
client = httpx.Client(headers=HEADERS)
CHAT = f"{w.URL}/v1/chat/completions"


def chat(messages, model):
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


async def astream():
    count = 0
    body = {"model": w.STREAM, "messages": w.MESSAGES, "stream": True}
    async with there.stream("POST", CHAT, json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                count += json.loads(line[6:])["choices"][0]["delta"]["content"] is not None
    return count


w.contend(chat, stream, achat, astream, embed)
