"""The server over the engine on Transformers, by socket and in local mode, beside the same weights in GGUF."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from mistral_client import InvalidRequestError, MistralClient
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.engines.transformers import TransformersEngine
from tests.server.serving import serving

MESSAGES = [{"role": "user", "content": "What is in a name?"}]
GREEDY = {"temperature": 0, "max_tokens": 24}
FUNCTION = {"name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def client(pair):
    with (
        TransformersEngine(pair.safetensors, threads=1) as engine,
        serving(engine=engine) as (_, url),
        MistralClient(endpoint=url, api_key="none") as client,
    ):
        yield client


@pytest.fixture(scope="module")
def of_gguf(pair):
    with (
        LlamaCppEngine(pair.gguf, threads=1, slots=1) as engine,
        serving(engine=engine) as (_, url),
        MistralClient(endpoint=url, api_key="none") as client,
    ):
        yield client


def test_a_chat_whole_and_in_events(client, of_gguf):
    answer = client.chat("mistral-small", MESSAGES, **GREEDY)
    text = answer.choices[0].message.content
    assert len(text) > 20
    assert answer.usage.completion_tokens == 24
    assert answer.choices[0].finish_reason == "length"
    chunks = list(client.chat_stream("mistral-small", MESSAGES, **GREEDY))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert len(chunks) > 10
    assert chunks[-1].usage == answer.usage
    same = of_gguf.chat("mistral-small", MESSAGES, **GREEDY)
    assert (same.choices[0].message.content, same.usage) == (text, answer.usage)


def test_several_answers_a_stop_and_log_probabilities(client, of_gguf):
    options = {**GREEDY, "n": 2, "logprobs": True, "top_logprobs": 3}
    answer, same = (each.chat("mistral-small", MESSAGES, **options) for each in (client, of_gguf))
    first, second = answer.choices
    assert first.message == second.message == same.choices[0].message
    for ours, theirs in zip(first.logprobs.content, same.choices[0].logprobs.content, strict=True):
        assert (ours.token, len(ours.top_logprobs)) == (theirs.token, 3)
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-3)
    text = first.message.content
    stopped = client.chat("mistral-small", MESSAGES, stop=text[10:14], **GREEDY).choices[0]
    assert stopped.message.content == text[: text.index(text[10:14])]
    assert stopped.finish_reason == "stop"


def test_the_card_promises_no_tools(client, of_gguf):
    assert client.retrieve_model("echo").capabilities["function_calling"] is False
    assert of_gguf.retrieve_model("echo").capabilities["function_calling"] is True


def test_embeddings(client, of_gguf):
    texts = ["the water", "What is in a name?", "the number of the day " * 30]
    ours, theirs = (each.embeddings("mistral-embed", texts).data for each in (client, of_gguf))
    for one, other in zip(ours, theirs, strict=True):
        assert len(one.embedding) == 1024
        assert one.embedding == pytest.approx(other.embedding, abs=1e-4)


@pytest.mark.parametrize(
    "options", [{"response_format": {"type": "json_object"}}, {"tools": [{"type": "function", "function": FUNCTION}]}]
)
def test_what_needs_a_grammar_is_refused_and_says_what_helps(client, options):
    with pytest.raises(InvalidRequestError, match="a GGUF of the model can") as caught:
        client.chat("mistral-small", MESSAGES, **options)
    assert caught.value.http_status == 400
    with pytest.raises(InvalidRequestError, match="a GGUF of the model can"):
        list(client.chat_stream("mistral-small", MESSAGES, **options))


def test_local_mode_takes_a_folder(pair, client):
    with MistralClient(endpoint=f"local:{pair.safetensors}") as local:
        assert local.list_models().data[0].id == "baby"
        answers = [each.chat("mistral-small", MESSAGES, **GREEDY) for each in (local, client)]
    assert answers[0].choices == answers[1].choices
