"""mistralai 3."""

import work as w
from mistralai.client import Mistral

client = Mistral(api_key=w.KEY, server_url=w.URL)


def chat(messages, model):
    return client.chat.complete(model=model, messages=messages).choices[0].message.content


def stream(model):
    with client.chat.stream(model=model, messages=w.MESSAGES) as events:
        return sum(event.data.choices[0].delta.content is not None for event in events)


async def achat():
    answer = await client.chat.complete_async(model=w.CHAT, messages=w.MESSAGES)
    return bool(answer.choices[0].message.content)


async def astream():
    async with await client.chat.stream_async(model=w.STREAM, messages=w.MESSAGES) as events:
        return sum([event.data.choices[0].delta.content is not None async for event in events])


def embed(_encoding):
    return len(client.embeddings.create(model=w.EMBED, inputs=w.TEXTS).data)


w.contend(chat, stream, achat, astream, embed, encodings=["float"])
