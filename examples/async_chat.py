"""Several questions at the same time."""

import asyncio

from mistral_client import ChatMessage, MistralAsyncClient

QUESTIONS = ("What is the capital of France?", "What is the capital of Italy?", "What is the capital of Japan?")


async def ask(client: MistralAsyncClient, question: str) -> str:
    messages = [ChatMessage(role="user", content=question)]
    response = await client.chat(model="mistral-small", messages=messages, temperature=0, max_tokens=20)
    return response.choices[0].message.content


async def main():
    async with MistralAsyncClient(endpoint="local") as client:
        answers = await asyncio.gather(*(ask(client, question) for question in QUESTIONS))
    for question, answer in zip(QUESTIONS, answers, strict=True):
        print(question, "->", answer)


asyncio.run(main())
