"""A question and its answer."""

from mistral_client import ChatMessage, MistralClient

with MistralClient(endpoint="local") as client:
    response = client.chat(
        model="mistral-small",
        messages=[ChatMessage(role="user", content="What is the capital of France?")],
        temperature=0,
        max_tokens=40,
    )

print(response.choices[0].message.content)
print("finish reason:", response.choices[0].finish_reason)
print("tokens:", response.usage.prompt_tokens, "read,", response.usage.completion_tokens, "written")
