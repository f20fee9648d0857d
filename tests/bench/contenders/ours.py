"""mistral_client."""

import work as w

from mistral_client import MistralAsyncClient, MistralClient

client = MistralClient(w.KEY, w.URL)
there = MistralAsyncClient(w.KEY, w.URL)


def chat(messages=w.MESSAGES, model=w.CHAT):
    return client.chat(messages, model).choices[0].message.content


def stream(model):
    return sum(chunk.choices[0].delta.content is not None for chunk in client.chat_stream(w.MESSAGES, model))


def embed(encoding):
    return len(client.embeddings(w.EMBED, w.TEXTS, encoding_format=encoding).data)


async def achat():
    answer = await there.chat(w.MESSAGES, w.CHAT)
    return bool(answer.choices[0].message.content)


async def astream(model=w.STREAM):
    return sum([chunk.choices[0].delta.content is not None async for chunk in there.chat_stream(w.MESSAGES, model)])


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
