"""mistralai 3."""

import work as w
from mistralai.client import Mistral

client = Mistral(api_key=w.KEY, server_url=w.URL)


def chat(messages=w.MESSAGES, model=w.CHAT):
    return client.chat.complete(model=model, messages=messages).choices[0].message.content


def stream(model):
    with client.chat.stream(model=model, messages=w.MESSAGES) as events:
        return sum(event.data.choices[0].delta.content is not None for event in events)


async def achat():
    answer = await client.chat.complete_async(model=w.CHAT, messages=w.MESSAGES)
    return bool(answer.choices[0].message.content)


async def astream(model=w.STREAM):
    async with await client.chat.stream_async(model=model, messages=w.MESSAGES) as events:
        return sum([event.data.choices[0].delta.content is not None async for event in events])


w.contend(
    chat=w.repeated(chat),
    long_chat=w.repeated(lambda: chat(w.LONG, w.LONG_CHAT)),
    stream=w.streamed(lambda: stream(w.STREAM)),
    long_stream=w.streamed(lambda: stream(w.LONG_STREAM)),
    lumps=w.streamed(lambda: stream(w.LUMPS)),
    async_stream=w.streamed_async(astream),
    streams_at_once=w.at_once(astream, w.STREAMS),
    chats_at_once=w.at_once(achat, w.CALLS),
    embed_floats=w.repeated(lambda: len(client.embeddings.create(model=w.EMBED, inputs=w.TEXTS).data)),
)
