"""mistral_client."""

import work as w

from mistral_client import MistralAsyncClient, MistralClient

client = MistralClient(w.KEY, w.URL)
there = MistralAsyncClient(w.KEY, w.URL)


def chat(messages, model):
    return client.chat(messages, model).choices[0].message.content


def stream(model):
    return sum(chunk.choices[0].delta.content is not None for chunk in client.chat_stream(w.MESSAGES, model))


def embed(encoding):
    return len(client.embeddings(w.EMBED, w.TEXTS, encoding_format=encoding).data)


async def achat():
    answer = await there.chat(w.MESSAGES, w.CHAT)
    return bool(answer.choices[0].message.content)


async def astream():
    return sum([chunk.choices[0].delta.content is not None async for chunk in there.chat_stream(w.MESSAGES, w.STREAM)])


w.contend(chat, stream, achat, astream, embed)
