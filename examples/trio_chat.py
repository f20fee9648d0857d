"""The same asynchronous client under trio."""

import trio

from mistral_client import ChatMessage, MistralAsyncClient


async def main():
    async with MistralAsyncClient(endpoint="local") as client:
        messages = [ChatMessage(role="user", content="What is the capital of France?")]
        with trio.fail_after(60):
            response = await client.chat(model="mistral-small", messages=messages, temperature=0, max_tokens=20)
    print(response.choices[0].message.content)


trio.run(main)
