"""A conversation: every request holds all that was said before."""

from mistral_client import ChatMessage, MistralClient

messages = [ChatMessage(role="system", content="You are a helpful teacher. Answer in one sentence.")]

with MistralClient(endpoint="local") as client:
    for question in ("What is the sun?", "How hot is it?"):
        messages.append(ChatMessage(role="user", content=question))
        response = client.chat(model="mistral-small", messages=messages, temperature=0, max_tokens=40)
        # The answer is a message like the others.
        messages.append(response.choices[0].message)

for message in messages:
    print(f"{message.role}: {message.content}")
