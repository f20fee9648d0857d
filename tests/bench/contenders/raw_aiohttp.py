"""aiohttp with nothing around it: the limit for asynchronous calls."""

import json

import aiohttp
import work as w

CHAT = f"{w.URL}/v1/chat/completions"
HEADERS = {"Authorization": f"Bearer {w.KEY}"}
sessions = []


def session():
    if not sessions:  # it must be made within its event loop
        sessions.append(aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=100)))
    return sessions[0]


async def achat():
    async with session().post(CHAT, json={"model": w.CHAT, "messages": w.MESSAGES}) as answer:
        return bool((await answer.json())["choices"][0]["message"]["content"])


async def astream():
    count = 0
    body = {"model": w.STREAM, "messages": w.MESSAGES, "stream": True}
    async with session().post(CHAT, json=body) as response:
        async for line in response.content:
            if line.startswith(b"data: ") and line != b"data: [DONE]\n":
                count += json.loads(line[6:])["choices"][0]["delta"]["content"] is not None
    return count


w.contend(achat=achat, astream=astream)
