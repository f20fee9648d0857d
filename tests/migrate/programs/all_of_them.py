"""Programs of three generations that became one."""

from mistralai.client import Mistral as Modern, MistralClient
from mistralai.models.chat_completion import ChatMessage
from mistralai.models.sdkerror import SDKError
from mistralai import Mistral

for client in (MistralClient(), Mistral(), Modern()):
    try:
        if isinstance(client, MistralClient):
            answer = client.chat(model="mistral-tiny", messages=[ChatMessage(role="user", content="Cheese?")])
        else:
            answer = client.chat.complete(model="mistral-tiny", messages=[ChatMessage(role="user", content="Cheese?")])
        print(answer.choices[0].message.content)
    except SDKError as error:
        print(error)
