"""Any number of texts as vectors: the batches as a flow without I/O, and both clients over real sockets."""

from __future__ import annotations

import json
import pickle
import sys
import threading
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_client import (
    ArgumentError,
    ConfigurationError,
    EmbeddingResponse,
    InvalidRequestError,
    MistralClient,
    MistralException,
    ProtocolError,
    ServerError,
    UsageInfo,
)
from mistral_client._embedding_batches import embed_all
from mistral_client._flow import Together

TOO_MUCH = {"message": "Too many tokens overall, split into more batches.", "code": "3210"}


def vector(text):
    return [float(len(text)), float(sum(map(ord, text)) % 97)]


def answer_to(texts):
    data = [{"object": "embedding", "embedding": vector(text), "index": i} for i, text in enumerate(texts)]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts), "completion_tokens": 0}
    return {"id": "e", "object": "list", "data": data, "model": "mistral-embed-2312", "usage": usage}


def follow(flow, perform):
    """What a client makes of a flow, with calls one after another."""
    step = partial(next, flow)
    while True:
        try:
            doing = step()
        except StopIteration as finished:
            return finished.value
        try:
            step = partial(flow.send, follow_one(doing, perform))
        except MistralException as error:
            step = partial(flow.throw, error)


def follow_one(doing, perform):
    if not isinstance(doing, Together):
        return perform(doing)
    for place, flow in enumerate(doing.flows):
        doing.done(place, follow(flow, perform))
    return None


def embedded(texts, perform, *, batch_size=512, max_batch_tokens=16_384, progress=None, **options):
    return follow(embed_all("m", texts, batch_size, max_batch_tokens, 4, progress, options), perform)


class Recorder:
    """Answers calls, and keeps the texts of each."""

    def __init__(self):
        self.batches = []

    def __call__(self, call):
        body = json.loads(call.body)
        self.batches.append(body["input"])
        return EmbeddingResponse.model_validate(answer_to(body["input"]))


@given(st.lists(st.text(max_size=60), max_size=50), st.integers(1, 9), st.integers(1, 60))
def test_batches_keep_the_order_and_the_limits(texts, batch_size, max_batch_tokens):
    recorder = Recorder()
    seen = []
    answer = embedded(
        iter(texts),
        recorder,
        batch_size=batch_size,
        max_batch_tokens=max_batch_tokens,
        progress=lambda *given: seen.append(given),
    )
    assert [text for batch in recorder.batches for text in batch] == texts
    assert [each.embedding for each in answer.data] == [*map(vector, texts)]
    assert [each.index for each in answer.data] == [*range(len(texts))]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == len(texts)
    estimates = [sum(1 + len(text.encode()) // 2 for text in batch) for batch in recorder.batches]
    for batch, estimate in zip(recorder.batches, estimates, strict=True):
        assert 1 <= len(batch) <= batch_size
        assert estimate <= max_batch_tokens or len(batch) == 1
    for batch, following in zip(recorder.batches, recorder.batches[1:], strict=False):
        full = len(batch) == batch_size
        first = 1 + len(following[0].encode()) // 2
        assert full or sum(1 + len(text.encode()) // 2 for text in batch) + first > max_batch_tokens
    assert [done for done, _ in seen] == [
        sum(map(len, recorder.batches[: n + 1])) for n in range(len(recorder.batches))
    ]
    assert {total for _, total in seen} <= {None}


def test_one_answer():
    answer = embedded(["a", "bc", "d"], Recorder(), batch_size=2)
    assert answer == EmbeddingResponse.model_validate(answer_to(["a", "bc", "d"]))


def test_without_texts_nothing_is_sent():
    answer = embedded([], pytest.fail)
    assert (answer.data, answer.model) == ([], "m")
    assert answer.usage == UsageInfo(prompt_tokens=0, total_tokens=0, completion_tokens=0)
    assert answer.to_numpy().shape[0] == 0


def test_one_text():
    recorder = Recorder()
    assert len(embedded("one text", recorder).data) == 1
    assert recorder.batches == [["one text"]]


def test_progress_knows_how_many_there_are_where_they_can_be_counted():
    seen = []
    embedded(["a"] * 5, Recorder(), batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_progress_as_a_bar(capsys, monkeypatch):
    embedded(["a"] * 5, Recorder(), batch_size=2, progress=True)
    assert "5/5" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ConfigurationError, match="pip install tqdm"):
        embedded(["a"], pytest.fail, progress=True)


@pytest.mark.parametrize(
    ("texts", "options", "named"),
    [
        (["a"], {"batch_size": 0}, "batch_size: 0"),
        (["a"], {"max_batch_tokens": -1}, "max_batch_tokens: -1"),
        (["a"], {"batch_size": 2.5}, "batch_size: 2.5"),
        (None, {}, "texts: NoneType"),
        (17, {}, "texts: int"),
        ([], {"output_dtype": "float64"}, "output_dtype"),
        ([], {"timeout": -1}, "timeout"),
        (["a", 5], {}, "input"),
        (["a", "\ud800"], {}, "JSON"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_sent(texts, options, named):
    with pytest.raises(ArgumentError, match=named):
        embedded(texts, pytest.fail, **options)


def test_options_go_with_every_request():
    calls = []

    def perform(call):
        calls.append(call)
        return EmbeddingResponse.model_validate(answer_to(json.loads(call.body)["input"]))

    embedded(["ab", "cd"], perform, batch_size=1, output_dimension=2, timeout=7.0, extra_headers={"x": "y"})
    assert [json.loads(call.body)["output_dimension"] for call in calls] == [2, 2]
    assert {(call.timeout, call.headers["x"]) for call in calls} == {(7.0, "y")}


@pytest.mark.parametrize(
    "refused", [InvalidRequestError("too much", 400, code="3210"), InvalidRequestError("too large", 413)]
)
def test_a_batch_that_the_server_finds_too_large_is_split(refused):
    recorder = Recorder()

    def perform(call):
        answer = recorder(call)
        if len(answer.data) > 2:
            raise refused
        return answer

    texts = [str(number) for number in range(11)]
    answer = embedded(texts, perform, batch_size=7)
    assert [each.embedding for each in answer.data] == [*map(vector, texts)]
    assert [each.index for each in answer.data] == [*range(11)]
    assert answer.usage.total_tokens == 11
    assert [len(batch) for batch in recorder.batches] == [7, 3, 1, 2, 4, 2, 2, 4, 2, 2]


def test_a_text_that_is_too_large_by_itself_is_an_error():
    def perform(call):
        texts = json.loads(call.body)["input"]
        if "long" in texts:
            raise InvalidRequestError("too many tokens", 400, code="3210")
        return EmbeddingResponse.model_validate(answer_to(texts))

    with pytest.raises(InvalidRequestError, match=r"texts 6 to 6") as raised:
        embedded(["a", "b", "c", "d", "e", "f", "long", "g"], perform, batch_size=4)
    assert raised.value.batch == range(6, 7)


def test_a_failure_tells_which_texts_and_keeps_what_had_arrived():
    recorder = Recorder()

    def perform(call):
        if "bad" in json.loads(call.body)["input"]:
            raise ServerError("down", 500)
        return recorder(call)

    with pytest.raises(ServerError, match=r"down \(HTTP 500, texts 4 to 5\)") as raised:
        embedded(["a", "b", "c", "d", "e", "bad", "f"], perform, batch_size=2)
    for error in (raised.value, pickle.loads(pickle.dumps(raised.value))):
        assert error.batch == range(4, 6)
        assert [each.index for each in error.embeddings.data] == [0, 1, 2, 3]
        assert error.embeddings.usage.total_tokens == 4


@pytest.mark.parametrize("indexes", [[0], [0, 0], [1, 2], [0, 1, 2], []])
def test_an_answer_with_other_vectors_than_those_asked_for(indexes):
    def perform(call):
        answer = EmbeddingResponse.model_validate(answer_to("x" * len(indexes)))
        for each, index in zip(answer.data, indexes, strict=True):
            each.index = index
        return answer

    with pytest.raises(ProtocolError, match="2 texts") as raised:
        embedded(["a", "b"], perform)
    assert raised.value.batch == range(2)


def test_vectors_in_another_order_are_put_in_theirs():
    def perform(call):
        answer = EmbeddingResponse.model_validate(answer_to(json.loads(call.body)["input"]))
        answer.data.reverse()
        return answer

    assert [each.embedding for each in embedded(["a", "bc"], perform).data] == [vector("a"), vector("bc")]


def test_both_clients(make_client, http_server):
    second_is_late = threading.Event()

    def answer(request):
        texts = request.body["input"]
        if texts[0] == "text 7":
            assert second_is_late.wait(20)
        if texts[0] == "text 21":
            second_is_late.set()
        return 200, answer_to(texts)

    server = http_server(answer)
    texts = [f"text {number}" for number in range(50)]
    seen = []
    found = make_client("key", server.url).embed_all(
        "m", (text for text in texts), batch_size=7, progress=lambda *numbers: seen.append(numbers)
    )
    assert found == EmbeddingResponse.model_validate(answer_to(texts))
    assert found.to_numpy().tolist() == [*map(vector, texts)]
    assert len(server.requests) == 8
    assert server.most <= 4
    assert seen[-1] == (50, None)


def test_both_clients_when_a_batch_fails(make_client, http_server):
    def answer(request):
        texts = request.body["input"]
        if "text 5" in texts:
            return 400, {"message": "no", "code": "1"}
        return 200, answer_to(texts)

    texts = [f"text {number}" for number in range(9)]
    client = make_client("key", http_server(answer).url)
    with pytest.raises(InvalidRequestError) as raised:
        client.embed_all("m", texts, batch_size=2, max_concurrent_requests=1)
    assert raised.value.batch == range(4, 6)
    assert raised.value.attempts == 1
    assert [each.index for each in raised.value.embeddings.data] == [0, 1, 2, 3]


def test_a_batch_is_tried_again(make_client, http_server):
    busy = iter([True])

    def answer(request):
        if next(busy, False):
            return 429, {"message": "busy"}, {"Retry-After-Ms": "20"}
        return 200, answer_to(request.body["input"])

    server = http_server(answer)
    assert len(make_client("key", server.url).embed_all("m", ["a"] * 4, batch_size=2).data) == 4
    assert len(server.requests) == 3


def test_the_server_refuses_as_is_expected_here(baby, monkeypatch):
    monkeypatch.setattr("mistral_client.server.embedding.MAX_TOKENS", 500)
    client = MistralClient(endpoint=f"local:{baby}")
    texts = [f"{number:02} {'1234567890' * 7}" for number in range(12)]
    with pytest.raises(InvalidRequestError, match="Too many tokens") as raised:
        client.embeddings("mistral-embed", texts)
    assert raised.value.code == "3210"
    answer = client.embed_all("mistral-embed", texts, max_batch_tokens=500)
    assert answer.usage.total_tokens > 500
    for each, text in zip(answer.data, texts, strict=True):
        alone = client.embeddings("mistral-embed", text).data[0].embedding
        assert each.embedding == pytest.approx(alone, abs=1e-6)  # several are read at once, and round in another way
