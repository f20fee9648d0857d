"""openai, and groq, which has the same calls: the second argument says which."""

import sys
from importlib import import_module

import work as w

package, name = sys.argv[2:4]
kinds = import_module(package)
# groq's paths begin with /openai, which the canned server does not mind.
settings = {"base_url": f"{w.URL}/v1", "api_key": w.KEY}
client = getattr(kinds, name)(**settings)
there = getattr(kinds, f"Async{name}")(**settings)


def chat(messages, model):
    return client.chat.completions.create(model=model, messages=messages).choices[0].message.content


def stream(model):
    chunks = client.chat.completions.create(model=model, messages=w.MESSAGES, stream=True)
    return sum(chunk.choices[0].delta.content is not None for chunk in chunks)


async def achat():
    answer = await there.chat.completions.create(model=w.CHAT, messages=w.MESSAGES)
    return bool(answer.choices[0].message.content)


async def astream():
    chunks = await there.chat.completions.create(model=w.STREAM, messages=w.MESSAGES, stream=True)
    return sum([chunk.choices[0].delta.content is not None async for chunk in chunks])


def embed(encoding):
    return len(client.embeddings.create(model=w.EMBED, input=w.TEXTS, encoding_format=encoding).data)


w.contend(chat, stream, achat, astream, embed if package == "openai" else None)
