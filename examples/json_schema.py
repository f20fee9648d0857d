"""An answer that follows a JSON schema, read back into a type of your own."""

from pydantic import BaseModel, Field

from mistral_client import ChatMessage, MistralClient


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=150)


schema = {"name": "person", "schema": Person.model_json_schema()}

with MistralClient(endpoint="local") as client:
    response = client.chat(
        model="mistral-small",
        messages=[ChatMessage(role="user", content="Extract the person: Marie Curie was 66 years old.")],
        response_format={"type": "json_schema", "json_schema": schema},
        temperature=0,
        max_tokens=60,
    )

print(repr(Person.model_validate_json(response.choices[0].message.content)))
