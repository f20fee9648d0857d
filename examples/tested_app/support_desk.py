"""A support desk: customers read the answer as it is written, and nobody is left without one."""

import asyncio
import sys
from collections.abc import AsyncIterator

from mistral_client import ChatMessage, MistralAsyncClient, MistralException

INSTRUCTIONS = "You work for a bicycle shop. Answer the customer in one sentence."
HANDED_OVER = "A colleague will write to you today."
BROKE_OFF = " ... (The line is bad. Please ask again.)"


async def answer(client: MistralAsyncClient, question: str, patience: float = 20.0) -> AsyncIterator[str]:
    """The answer, piece by piece.

    A server that is busy is asked again. From one that is down, or silent for more than `patience` seconds, a colleague
    takes over. What an answer had said when it broke off stays.
    """
    messages = [ChatMessage(role="system", content=INSTRUCTIONS), ChatMessage(role="user", content=question)]
    said = False
    try:
        async for chunk in client.chat_stream(
            model="mistral-small", messages=messages, temperature=0, max_tokens=60, timeout=patience
        ):
            text = chunk.choices[0].delta.content
            if text:
                said = True
                yield text
    except MistralException:
        yield BROKE_OFF if said else HANDED_OVER


async def main(question: str) -> None:
    async with MistralAsyncClient() as client:
        async for text in answer(client, question):
            print(text, end="", flush=True)
    print()


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:])))
