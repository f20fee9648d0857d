"""As programs for 1.x are written."""

import os

from mistralai import Mistral, UserMessage
from mistralai.models import SDKError, SystemMessage


class Assistant:
    def __init__(self, model: str = "mistral-small-latest") -> None:
        self.client = Mistral(api_key=os.environ["MISTRAL_API_KEY"])
        self.model = model

    def ask(self, question: str) -> str:
        response = self.client.chat.complete(
            model=self.model,
            messages=[
                SystemMessage(content="Answer in one sentence."),
                UserMessage(content=question),
            ],
            temperature=0.2,
        )
        return response.choices[0].message.content


def main() -> None:
    try:
        print(Assistant().ask("What is the best French cheese?"))
    except SDKError as error:
        print("failed:", error.status_code)


if __name__ == "__main__":
    main()
