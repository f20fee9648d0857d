"""Any number of texts as vectors: in batches, several at a time, with a look at how far it is."""

from mistral_client import MistralClient

fruits = ["apple", "pear", "plum", "cherry", "grape"]
texts = (f"A {fruit} is a fruit." for fruit in fruits)


def report(done, total):
    print(f"{done} of {total or 'many'}")


with MistralClient(endpoint="local") as client:
    response = client.embed_all("mistral-embed", texts, batch_size=2, progress=report)

print(len(response.data), "vectors in", response.usage.total_tokens, "tokens")
