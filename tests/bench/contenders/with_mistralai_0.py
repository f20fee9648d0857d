"""mistralai 0.4.2."""

import work as w
from mistralai.async_client import MistralAsyncClient
from mistralai.client import MistralClient

client = MistralClient(api_key=w.KEY, endpoint=w.URL)
there = MistralAsyncClient(api_key=w.KEY, endpoint=w.URL, max_concurrent_requests=100)


def chat(messages, model):
    return client.chat(model=model, messages=messages).choices[0].message.content


def stream(model):
    chunks = client.chat_stream(model=model, messages=w.MESSAGES)
    return sum(chunk.choices[0].delta.content is not None for chunk in chunks)


async def achat():
    answer = await there.chat(model=w.CHAT, messages=w.MESSAGES)
    return bool(answer.choices[0].message.content)


async def astream():
    chunks = there.chat_stream(model=w.STREAM, messages=w.MESSAGES)
    return sum([chunk.choices[0].delta.content is not None async for chunk in chunks])


def embed(_encoding):
    return len(client.embeddings(model=w.EMBED, input=w.TEXTS).data)


w.contend(chat, stream, achat, astream, embed, encodings=["float"])
