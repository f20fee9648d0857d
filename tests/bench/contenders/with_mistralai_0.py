"""mistralai 0.4.2."""

import work as w
from mistralai.async_client import MistralAsyncClient
from mistralai.client import MistralClient

client = MistralClient(api_key=w.KEY, endpoint=w.URL)
there = MistralAsyncClient(api_key=w.KEY, endpoint=w.URL, max_concurrent_requests=100)


def chat(messages=w.MESSAGES, model=w.CHAT):
    return client.chat(model=model, messages=messages).choices[0].message.content


def stream(model):
    chunks = client.chat_stream(model=model, messages=w.MESSAGES)
    return sum(chunk.choices[0].delta.content is not None for chunk in chunks)


async def achat():
    answer = await there.chat(model=w.CHAT, messages=w.MESSAGES)
    return bool(answer.choices[0].message.content)


async def astream(model=w.STREAM):
    chunks = there.chat_stream(model=model, messages=w.MESSAGES)
    return sum([chunk.choices[0].delta.content is not None async for chunk in chunks])


w.contend(
    chat=w.repeated(chat),
    long_chat=w.repeated(lambda: chat(w.LONG, w.LONG_CHAT)),
    stream=w.streamed(lambda: stream(w.STREAM)),
    long_stream=w.streamed(lambda: stream(w.LONG_STREAM)),
    lumps=w.streamed(lambda: stream(w.LUMPS)),
    async_stream=w.streamed_async(astream),
    streams_at_once=w.at_once(astream, w.STREAMS),
    chats_at_once=w.at_once(achat, w.CALLS),
    embed_floats=w.repeated(lambda: len(client.embeddings(model=w.EMBED, input=w.TEXTS).data)),
)
