"""mistralai 3 against a scripted server: prints what it got of each call, in the order of the test's script."""

import os

from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from mistralai.client.utils import BackoffStrategy, RetryConfig

ASK = {"model": "mistral-small", "messages": [{"role": "user", "content": "hello"}]}
EAGER = RetryConfig("backoff", BackoffStrategy(10, 50, 1.5, 5000), retry_connection_errors=True)

client = Mistral(api_key="key", server_url=os.environ["COMPAT_URL"])


def streamed():
    with client.chat.stream(**ASK) as events:
        for event in events:
            yield event.data.choices[0]


print(client.chat.complete(**ASK, retries=EAGER).choices[0].message.content)
print([choice.delta.content for choice in streamed()])
(call,) = client.chat.complete(**ASK).choices[0].message.tool_calls
print(call.id, call.function.name, call.function.arguments)
*_, last = streamed()
print(last.finish_reason, last.delta.tool_calls[0].function.name)
try:
    client.chat.complete(**ASK)
except SDKError as error:
    print(error.raw_response.status_code, error.body)
text = ""
try:
    for choice in streamed():
        text += choice.delta.content
except Exception as error:  # noqa: BLE001
    print(type(error).__name__, repr(text))
print(client.embeddings.create(model="mistral-embed", inputs=["a", "b"]).data[1].embedding)
print([card.id for card in client.models.list().data])
