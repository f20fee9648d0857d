"""How many tokens a prompt has, and whether it fits the model, before anything is sent."""

from mistral_client import ArgumentError, ChatMessage, check_context, count_tokens

messages = [
    ChatMessage(role="system", content="Answer in one word."),
    ChatMessage(role="user", content="What is the capital of France?"),
]
for model in ("open-mixtral-8x7b", "open-mixtral-8x22b"):
    print(f"{model}: {count_tokens(messages, model)} tokens")

book = [ChatMessage(role="user", content="It was a dark and stormy night. " * 5000)]
try:
    check_context(book, "open-mixtral-8x7b", max_tokens=500)
except ArgumentError as error:
    print(error)
