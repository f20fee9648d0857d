"""mistral_client over aiohttp."""

import work as w
from httpx_aiohttp import AiohttpTransport

from mistral_client import MistralAsyncClient

client = MistralAsyncClient(w.KEY, w.URL, transport=AiohttpTransport())


async def achat():
    answer = await client.chat(w.MESSAGES, w.CHAT)
    return bool(answer.choices[0].message.content)


async def astream():
    return sum([chunk.choices[0].delta.content is not None async for chunk in client.chat_stream(w.MESSAGES, w.STREAM)])


w.contend(achat=achat, astream=astream)
