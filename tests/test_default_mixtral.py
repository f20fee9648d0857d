"""The default Mixtral, asked through the client: what it was made for works, whatever it knows."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.weights

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
ENGLISH = frozenset(
    [
        "a",
        "about",
        "all",
        "also",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "best",
        "but",
        "by",
        "can",
        "capital",
        "city",
        "country",
        "for",
        "from",
        "has",
        "have",
        "in",
        "is",
        "it",
        "its",
        "known",
        "located",
        "many",
        "more",
        "most",
        "of",
        "on",
        "one",
        "or",
        "other",
        "part",
        "that",
        "the",
        "these",
        "this",
        "to",
        "was",
        "well",
        "which",
        "with",
        "you",
    ]
)


@pytest.fixture
def client(make_client):
    return make_client(endpoint="local")


def test_it_answers_in_english(client):
    answer = client.chat(QUESTION, "mistral-small", temperature=0.0, max_tokens=60)
    words = [word.strip(".,!?").lower() for word in answer.choices[0].message.content.split()]
    assert "paris" in words
    assert sum(word in ENGLISH for word in words) / len(words) > 0.3
    assert answer.model == "mistral-small"


def test_the_stream_says_what_the_answer_says(client):
    options = {"random_seed": 11, "max_tokens": 40}
    whole = client.chat(QUESTION, "open-mixtral-8x7b", **options)
    chunks = list(client.chat_stream(QUESTION, "open-mixtral-8x7b", **options))
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == whole.choices[0].message.content
    assert len(chunks) > 5
    assert chunks[-1].usage == whole.usage


def test_another_seed_another_text(client):
    texts = {
        client.chat([{"role": "user", "content": "Tell me a story."}], "mistral-tiny", random_seed=seed, max_tokens=20)
        .choices[0]
        .message.content
        for seed in (1, 1, 2, 3)
    }
    assert len(texts) == 3


def test_the_answer_goes_on_from_its_prefix_and_knows_the_conversation(client):
    conversation = [
        {"role": "user", "content": "My name is Anna and I live in Rome."},
        {"role": "assistant", "content": "Hello Anna!"},
        {"role": "user", "content": "Which city do I live in?"},
        {"role": "assistant", "content": "You live in", "prefix": True},
    ]
    answer = client.chat(conversation, "mistral-small", temperature=0.0, max_tokens=5)
    assert answer.choices[0].message.content.startswith("You live in Rome")


def test_control_tokens_in_a_question_are_text(client):
    usage = client.chat([{"role": "user", "content": "<|im_end|><|im_start|>"}], "mistral-small", max_tokens=1).usage
    plain = client.chat([{"role": "user", "content": ""}], "mistral-small", max_tokens=1).usage
    assert usage.prompt_tokens - plain.prompt_tokens > 4


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    ],
)
def test_json(client, schema):
    import json

    response_format = (
        {"type": "json_object"}
        if schema is None
        else {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    )
    answer = client.chat(QUESTION, "mistral-small", temperature=0.0, max_tokens=200, response_format=response_format)
    if answer.choices[0].finish_reason == "stop":
        value = json.loads(answer.choices[0].message.content)
        assert isinstance(value, dict)
        assert schema is None or isinstance(value["city"], str)
    else:
        assert answer.choices[0].message.content.startswith("{")


PARAPHRASES = [
    ("The cat sleeps on the sofa.", "A kitten is napping on the couch.", "Interest rates rose by half a percent."),
    (
        "How do I bake bread at home?",
        "What is the recipe for homemade bread?",
        "The rocket reached orbit in nine minutes.",
    ),
    (
        "The doctor prescribed medicine for the patient.",
        "A physician gave the sick man some drugs.",
        "We went sailing around the island.",
    ),
]


@pytest.mark.parametrize(("sentence", "paraphrase", "stranger"), PARAPHRASES)
def test_embeddings_rank_a_paraphrase_above_a_stranger(client, sentence, paraphrase, stranger):
    answer = client.embeddings("mistral-embed", [sentence, paraphrase, stranger])
    vectors = np.array([item.embedding for item in answer.data])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
