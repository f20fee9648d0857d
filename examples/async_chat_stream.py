"""The answer word by word, in an event loop. `chat_stream` is not awaited."""

import asyncio

from mistral_client import ChatMessage, MistralAsyncClient


async def main():
    async with MistralAsyncClient(endpoint="local") as client:
        messages = [ChatMessage(role="user", content="Write one sentence about the sea.")]
        async for chunk in client.chat_stream(model="mistral-small", messages=messages, temperature=0, max_tokens=40):
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


asyncio.run(main())
