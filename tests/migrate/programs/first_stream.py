# -*- coding: utf-8 -*-
import asyncio
from mistralai import models
from mistralai import Mistral  # the client
from mistralai.utils import BackoffStrategy, RetryConfig


async def main():
    retries = RetryConfig("backoff", BackoffStrategy(1, 50, 1.1, 100), False)
    async with Mistral(retry_config=retries) as mistral:
        response = await mistral.chat.stream_async(
            model="mistral-small-latest", messages=[models.UserMessage(content="Où est le fromage ?")]
        )
        async for event in response:
            if event.data.choices[0].delta.content:
                print(event.data.choices[0].delta.content, end="")
    print()


asyncio.run(main())
