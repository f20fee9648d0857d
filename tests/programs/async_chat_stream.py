"""A program of January 2024, as its readers typed it. Nothing here may be changed to make it run."""

import asyncio

from mistralai.async_client import MistralAsyncClient
from mistralai.models.chat_completion import ChatMessage


async def main():
    api_key = "MISTRAL_API_KEY"
    model = "mistral-tiny"

    client = MistralAsyncClient(api_key=api_key)

    response = client.chat_stream(
        model=model,
        messages=[ChatMessage(role="user", content="What is the best French cheese?")],
    )
    async for chunk in response:
        if chunk.choices[0].delta.content is not None:
            print(chunk.choices[0].delta.content, end="")

    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
