"""What can go wrong has a type. `MistralException` catches all of it."""

from mistral_client import ArgumentError, ChatMessage, InvalidRequestError, MistralClient, MistralConnectionException

messages = [ChatMessage(role="user", content="Hello!")]

with MistralClient(endpoint="local") as client:
    try:
        client.chat(model="mistral-small", messages=messages, temperature=9)
    except ArgumentError as error:
        print("nothing was sent:", error)

    try:
        client.chat(model="no-such-model", messages=messages)
    except InvalidRequestError as error:
        print("the server refused:", error.message, error.http_status, error.code)

# Port 9 is the old discard service; hardly a machine has it open.
with MistralClient(endpoint="http://127.0.0.1:9", max_retries=0) as client:
    try:
        client.chat(model="mistral-small", messages=messages)
    except MistralConnectionException as error:
        print("nobody was there:", error.message, "- try again later:", error.retryable)
