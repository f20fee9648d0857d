"""The two engines, given the same weights, compute the same."""

import math
import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from mistral_client.server.engine import Sampling
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.engines.transformers import TransformersEngine
from mistral_client.server.weights import baby

GREEDY = Sampling(temperature=0, max_tokens=64, logprobs=5)

QUESTIONS = [
    "What is in a name?",
    "hello",
    "Two words; 12345 numbers, and a ☃ of ünusual letters\n\n  with  spaces",
    "the water of the people is now like the number of the day " * 40,
    "".join(chr(code) for code in range(1, 256)),
]


@pytest.fixture(scope="module", params=range(3), ids="weights{}".format)
def engines(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    gguf, safetensors = folder / "baby.gguf", folder / "baby"
    baby.write_gguf(gguf, seed=request.param)
    baby.write_safetensors(safetensors, seed=request.param)
    with LlamaCppEngine(gguf, slots=1, threads=1) as one, TransformersEngine(safetensors, threads=1) as other:
        yield one, other


@pytest.mark.parametrize("question", QUESTIONS, ids=range(len(QUESTIONS)))
def test_64_greedy_tokens_and_their_log_probabilities(engines, listener, question):
    one, other = engines
    prompt = one.tokenize([1, f"[INST] {question} [/INST]"])
    assert other.tokenize([1, f"[INST] {question} [/INST]"]) == prompt
    heard = listener(), listener()
    ends = [engine.generate(prompt, GREEDY, each) for engine, each in zip(engines, heard, strict=True)]
    assert ends[0] == ends[1]
    assert ends[0].completion_tokens == 64
    assert heard[0].text == heard[1].text
    ours, theirs = (each.tokens for each in heard)
    assert len(ours) == 64
    assert [token.id for token in ours] == [token.id for token in theirs]
    assert [token.token for token in ours] == [token.token for token in theirs]
    for token, same in zip(ours, theirs, strict=True):
        assert token.logprob == pytest.approx(same.logprob, abs=1e-3)
        assert [each.logprob for each in token.top] == pytest.approx([each.logprob for each in same.top], abs=1e-3)
    # Far nearer than was asked for: nothing is rounded to less than float32.
    assert max(abs(token.logprob - same.logprob) for token, same in zip(ours, theirs, strict=True)) < 1e-4


@pytest.mark.parametrize("question", QUESTIONS, ids=range(len(QUESTIONS)))
def test_tokens_stand_for_the_same_texts(engines, question):
    one, other = engines
    prompt = one.tokenize([1, f"[INST] {question} [/INST]", 2])
    assert one.texts_of(prompt) == other.texts_of(prompt)


def test_penalties_lead_to_the_same_tokens(engines, listener):
    penalised = Sampling(
        temperature=0, max_tokens=48, repetition_penalty=1.3, frequency_penalty=0.4, presence_penalty=0.7
    )
    prompt = engines[0].tokenize([1, "[INST] What is in a name? [/INST]"])
    heard = listener(), listener()
    for engine, each in zip(engines, heard, strict=True):
        engine.generate(prompt, penalised, each)
    assert heard[0].text == heard[1].text != ""


def test_stop_texts_and_limits_end_both_in_the_same_place(engines, listener):
    prompt = engines[0].tokenize([1, "[INST] What is in a name? [/INST]"])
    whole = listener()
    engines[0].generate(prompt, GREEDY, whole)
    stop = whole.text[20:24]
    for sampling in (
        Sampling(temperature=0, max_tokens=64, stop=("no such", stop)),
        Sampling(temperature=0, max_tokens=3),
        Sampling(temperature=0, max_tokens=0),
    ):
        heard = listener(), listener()
        ends = [engine.generate(prompt, sampling, each) for engine, each in zip(engines, heard, strict=True)]
        assert ends[0] == ends[1]
        assert heard[0].text == heard[1].text
    whole_context = [300] * 2040
    ends = [engine.generate(whole_context, Sampling(temperature=0), listener()) for engine in engines]
    assert ends[0] == ends[1]
    assert ends[0].finish_reason == "model_length"


def test_embeddings_are_the_same(engines):
    prompts = [engines[0].tokenize([text]) for text in ("hello", "What is in a name?", "the water of people " * 20)]
    ours, theirs = (engine.embed(prompts) for engine in engines)
    for prompt, one, other in zip(prompts, ours, theirs, strict=True):
        assert len(prompt) < 256
        assert math.fsum(a * b for a, b in zip(one, other, strict=True)) == pytest.approx(1, abs=1e-5)


PIECES = ["<s>", "</s>", "<unk>", "[INST]", " [/INST]", "<0x0A>", "<|im_start|>", "▁", " ", "  ", "\n", "☃", "the", "é"]


def test_texts_are_the_same_tokens(engines):
    dice = random.Random(9)
    for _ in range(500):
        texts = ["".join(dice.choices(PIECES, k=dice.randint(0, 12))) for _ in range(3)]
        parts = [1, texts[0], 2, texts[1], texts[2]]
        assert engines[0].tokenize(parts) == engines[1].tokenize(parts), parts


def test_the_same_tokens_have_names(engines):
    for name in ("<s>", "</s>", "<|im_end|>", "[INST]", "the"):
        assert engines[0].token_id(name) == engines[1].token_id(name)
    assert engines[0].chat_template == engines[1].chat_template
    assert engines[0].context_length == engines[1].context_length
