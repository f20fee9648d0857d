"""As programs for 2.x and 3.x are written, and for 1.x where that is what is installed."""

try:
    from mistralai.client import Mistral
    from mistralai.client.errors import MistralError
except ImportError:
    from mistralai import Mistral
    from mistralai.models import MistralError

_client = None


def get_client() -> Mistral:
    global _client
    if _client is None:
        _client = Mistral()
    return _client


try:
    answer = get_client().chat.complete(
        model="mistral-small-latest", messages=[{"role": "user", "content": "What is the best French cheese?"}]
    )
    print(answer.choices[0].message.content, answer.usage.total_tokens > 0)
except MistralError as error:
    print(error.message)
