"""An answer as a value of a type of your own, as it grows and whole."""

from pydantic import BaseModel, Field

from mistral_client import ChatMessage, MistralClient


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=150)


messages = [ChatMessage(role="user", content="Extract the person: Marie Curie was 66 years old.")]

with MistralClient(endpoint="local") as client:
    answer = client.chat(messages, "mistral-small", response_model=Person, temperature=0, max_tokens=60)
    print(repr(answer.parsed))

    with client.chat_stream(messages, "mistral-small", response_model=Person, temperature=0, max_tokens=60) as stream:
        for partial in stream.partials():
            print(partial)
