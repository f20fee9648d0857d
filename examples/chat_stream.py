"""The answer, word by word as it is made, and then as a whole."""

from mistral_client import ChatMessage, MistralClient

messages = [ChatMessage(role="user", content="Write one sentence about the sea.")]

# Leaving the inner `with` block, also by `break`, ends the answer on the server.
with (
    MistralClient(endpoint="local") as client,
    client.chat_stream(model="mistral-small", messages=messages, temperature=0, max_tokens=40) as chunks,
):
    for chunk in chunks:
        print(chunk.choices[0].delta.content or "", end="", flush=True)

print()
response = chunks.final_response()
print("finish reason:", response.choices[0].finish_reason)
print("tokens written:", response.usage.completion_tokens)
