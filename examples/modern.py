"""The call style of later clients: Mistral, chat.complete, chat.stream and chat.parse, on the local server."""

from pydantic import BaseModel, Field

from mistral_client import Mistral, SDKError, UserMessage


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=150)


with Mistral(server_url="local") as client:
    question = [UserMessage(content="What is the capital of France?")]
    response = client.chat.complete(model="mistral-small", messages=question, temperature=0, max_tokens=40)
    print(response.choices[0].message.content)

    with client.chat.stream(model="mistral-small", messages=question, temperature=0, max_tokens=40) as stream:
        print("".join(event.data.choices[0].delta.content for event in stream) == response.choices[0].message.content)

    parsed = client.chat.parse(Person, model="mistral-small", messages=[UserMessage(content="Who?")], max_tokens=60)
    print(repr(parsed.choices[0].message.parsed))

    try:
        client.chat.complete(model="no-such-model", messages=question)
    except SDKError as error:
        print(error.status_code, error.message)
