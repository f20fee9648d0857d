import mistralai.client
import mistralai.models.chat_completion as cc
from mistralai import exceptions
from mistralai.async_client import MistralAsyncClient as AsyncClient
from mistralai.constants import RETRY_STATUS_CODES, ENDPOINT  # noqa

client = mistralai.client.MistralClient()  # the key is in the environment
try:
    response = client.chat("mistral-tiny", [cc.ChatMessage(role="user", content="Cheese?")])
    print(response.choices[0].message.content, response.choices[0].finish_reason == cc.FinishReason.stop)
except (exceptions.MistralAPIException, exceptions.MistralConnectionException) as e:
    print(e)
print(AsyncClient.__name__, 429 in RETRY_STATUS_CODES)
