"""Models that were made for embeddings: their own pooling, their own control tokens, and no text."""

import gguf
import httpx
import numpy as np
import pytest

from mistral_client.server.cards import Capabilities
from mistral_client.server.engine import ContextLengthError, EngineError, Sampling, UnsupportedError
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.loading import ModelSpec, find, load
from mistral_client.server.local import LocalServer, SyncTransport
from mistral_client.server.models import Models
from tests.server.weights import baby_bert

TEXTS = ["hello world", "The printer is out of ink.", "a", "x y z " * 15]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return baby_bert.write_gguf(tmp_path_factory.mktemp("bert") / "bert.gguf")


@pytest.mark.parametrize("slots", [1, 3])
def test_vectors_are_what_plain_arithmetic_gives(bert, slots):
    with LlamaCppEngine(bert, slots=slots, threads=1) as engine:
        assert engine.is_embedding_model
        assert engine.context_length == baby_bert.CONTEXT
        prompts = [engine.tokenize([text]) for text in TEXTS]
        vectors = np.array(engine.embed(prompts))
    for vector, prompt in zip(vectors, prompts, strict=True):
        expected = baby_bert.embedded([2, *prompt, 3])  # [CLS] and [SEP]
        assert vector @ expected == pytest.approx(1, abs=1e-5)


def test_the_pooling_is_that_of_the_file(bert, tmp_path):
    first = baby_bert.write_gguf(tmp_path / "first.gguf", pooling=gguf.PoolingType.CLS)
    with LlamaCppEngine(first, threads=1) as of_first, LlamaCppEngine(bert, threads=1) as of_mean:
        prompt = of_first.tokenize(["hello world"])
        assert np.dot(of_first.embed([prompt])[0], of_mean.embed([prompt])[0]) < 0.99


def test_control_tokens_in_a_text_are_text(bert):
    with LlamaCppEngine(bert, threads=1) as engine:
        assert not {0, 2, 3, 4} & set(engine.tokenize(["[SEP] a [CLS] [PAD]"]))


def test_what_it_cannot(bert):
    with LlamaCppEngine(bert, threads=1) as engine:
        with pytest.raises(UnsupportedError, match="writes no text"):
            engine.generate([5, 6], Sampling(), lambda _piece: False)
        with pytest.raises(ContextLengthError, match="contains 65 tokens"):
            engine.embed([[5] * 63])
        assert len(engine.embed([[5] * 62])[0]) == baby_bert.HIDDEN
        with pytest.raises(EngineError, match="empty"):
            engine.embed([[]])


def test_on_the_wire(bert):
    found = find(ModelSpec(str(bert), aliases=("mistral-embed",)))
    assert found.capabilities == Capabilities(chat=False, tools=False)
    server = LocalServer(lambda: load(ModelSpec(str(bert), threads=1)))
    with httpx.Client(transport=SyncTransport(server), base_url="http://local") as http:
        answer = http.post("/v1/embeddings", json={"model": "bert", "input": "hello world"}).json()
        vector = np.array(answer["data"][0]["embedding"])
        expected = baby_bert.embedded([2, 5, 6, 3])
        assert vector[: baby_bert.HIDDEN] @ expected == pytest.approx(1, abs=1e-5), "as it is: nothing is taken out"
        for path in ("chat/completions", "fim/completions"):
            asked = {"prompt": "x"} if path.startswith("fim") else {"messages": [{"role": "user", "content": "x"}]}
            refused = http.post(f"/v1/{path}", json={"model": "bert", **asked})
            assert (refused.status_code, refused.json()["code"]) == (400, "3051")
            assert "writes no text" in refused.json()["message"]
        assert http.get("/v1/models/bert").json()["capabilities"]["completion_chat"] is False
    server.close()


def test_its_card_tells_before_it_is_loaded(bert):
    card = Models([find(ModelSpec(str(bert)))]).card("bert")
    assert card["capabilities"]["completion_chat"] is False
    assert card["max_context_length"] == baby_bert.CONTEXT
