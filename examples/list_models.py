"""Which models a server offers."""

from mistral_client import MistralClient

with MistralClient(endpoint="local") as client:
    for card in client.list_models().data:
        print(card.id, card.owned_by)
