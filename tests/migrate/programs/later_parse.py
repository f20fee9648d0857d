from mistralai.client import Mistral
from mistralai.client.models import ChatCompletionResponse, UserMessage


def words(response: ChatCompletionResponse) -> list[str]:
    return response.choices[0].message.content.split()


with Mistral() as client:
    print(words(client.chat.complete(model="mistral-small-latest", messages=[UserMessage(content="Cheese?")])))
    with client.chat.stream(model="mistral-small-latest", messages=[UserMessage(content="More?")]) as events:
        for event in events:
            print(event.data.choices[0].delta.content, end="|")
