"""How near texts are to each other, as the cosine of their vectors."""

from operator import mul

from mistral_client import MistralClient

TEXTS = ["How do I reset my password?", "I forgot my password and need a new one.", "The train to Lyon leaves at noon."]

with MistralClient(endpoint="local") as client:
    response = client.embeddings(model="mistral-embed", input=TEXTS)

question, paraphrase, stranger = (item.embedding for item in response.data)


def cosine(a, b):
    return sum(map(mul, a, b))  # the vectors have length 1


print("dimensions:", len(question))
print(f"paraphrase: {cosine(question, paraphrase):.2f}")
print(f"stranger:   {cosine(question, stranger):.2f}")
