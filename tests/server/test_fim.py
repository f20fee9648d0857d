"""`/v1/fim/completions` and the routes of one model, over an engine that repeats, and over a real vocabulary."""

from __future__ import annotations

import pytest

from mistral_client import InvalidRequestError, NotFoundError, PermissionDeniedError
from mistral_client.models.fim import FIMCompletionRequest
from mistral_client.server.errors import WireError
from mistral_client.server.fim import asked_to_fill, fills_in
from mistral_client.server.loading import Loaded
from mistral_client.server.local import AsyncTransport, LocalServer, SyncTransport

from .test_app import EchoEngine

CODESTRAL = {"<s>": 2, "[SUFFIX]": 3, "[PREFIX]": 4}
STARCODER = {"<fim_prefix>": 5, "<fim_suffix>": 6, "<fim_middle>": 7}
QWEN = {"<|fim_prefix|>": 5, "<|fim_suffix|>": 6, "<|fim_middle|>": 7}


class Vocabulary(EchoEngine):
    """An engine with these control tokens beside those of its chat."""

    def __init__(self, marks, space=""):
        super().__init__()
        self.marks = marks
        self.space = space

    def token_id(self, token):
        return self.marks.get(token, super().token_id(token))

    def tokenize(self, parts):
        return super().tokenize([self.space + part if isinstance(part, str) else part for part in parts])


def prompt_of(marks, space="", **fields):
    engine = Vocabulary(marks, space)
    asked = asked_to_fill(FIMCompletionRequest(model="m", **fields), engine, 8)
    return "".join(map(chr, engine.tokenize(asked.parts)))


@pytest.mark.parametrize(
    ("marks", "prompt"),
    [
        (CODESTRAL, "\2\3return\4def f("),
        (STARCODER, "\5def f(\6return\7"),
        (QWEN, "\5def f(\6return\7"),
        ({"<s>": 2, **QWEN}, "\2\5def f(\6return\7"),
    ],
)
def test_a_hole_is_written_as_the_model_learnt_it(marks, prompt):
    assert prompt_of(marks, prompt="def f(", suffix="return") == prompt
    assert fills_in(Vocabulary(marks).token_id)


def test_without_a_suffix_the_model_goes_on():
    assert prompt_of({}, prompt="def f(") == "def f("
    assert prompt_of({"<s>": 2}, prompt="def f(") == "\2def f("
    assert prompt_of(QWEN, prompt="def f(", suffix="") == "def f("
    assert prompt_of(CODESTRAL, prompt="def f(") == "\2\3\4def f("


def test_a_suffix_is_no_beginning():
    assert prompt_of(CODESTRAL, "_", prompt="a", suffix="b") == "\2\3b\4_a"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a", "min_tokens": 3}, "min_tokens"),
    ],
)
def test_what_cannot_be_done_is_refused(fields, param):
    with pytest.raises(WireError) as raised:
        prompt_of({}, **fields)
    assert (raised.value.status, raised.value.body["param"]) == (400, param)
    assert not fills_in(Vocabulary({}).token_id)


def test_half_of_the_tokens_is_none():
    assert not fills_in(Vocabulary({"[SUFFIX]": 3, "<fim_prefix>": 5}).token_id)


@pytest.fixture
def engine():
    return Vocabulary(QWEN)


@pytest.fixture
def client(make_client, flavour, engine):
    server = LocalServer(lambda: Loaded("echo", "Repeats.", engine))
    transport = SyncTransport(server) if flavour == "sync" else AsyncTransport(server)
    yield make_client("key", "http://local", 0, 10, transport=transport)
    server.close()


def test_whole_and_in_events(client, engine):
    answer = client.completion(
        "mistral-small", "one two three", max_tokens=2, temperature=0.0, top_p=0.5, random_seed=4, stop=["x", ""]
    )
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two ", "length")
    assert (answer.model, answer.object) == ("mistral-small", "chat.completion")
    assert answer.usage.model_dump() == {"prompt_tokens": 13, "total_tokens": 15, "completion_tokens": 2}
    sampling = engine.samplings[0]
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.random_seed, sampling.stop) == (
        2,
        0,
        0.5,
        4,
        ("x",),
    )
    chunks = list(client.completion_stream("mistral-small", "one two", "three"))
    assert engine.prompts[-1] == "\5one two\6three\7"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content for chunk in chunks).startswith("\5one two")
    assert (chunks[-1].choices[0].finish_reason, chunks[-1].usage.completion_tokens) == ("stop", 2)


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ({"model": "nope"}, 400, "1500"),
        ({"prompt": "x" * 601}, 400, "3051"),
        ({"extra_body": {"temperature": 3}}, 422, None),
        ({"extra_body": {"messages": []}}, 422, None),
        ({"extra_body": {"prompt": None}}, 422, None),
    ],
)
def test_what_is_wrong_is_refused(client, arguments, status, code):
    arguments = {"model": "mistral-tiny", "prompt": "x", **arguments}
    for call in (client.completion, lambda **options: list(client.completion_stream(**options))):
        with pytest.raises(InvalidRequestError) as raised:
            call(**arguments)
        assert (raised.value.http_status, raised.value.code) == (status, code)


def test_one_model(client):
    card = client.retrieve_model("mistral-small")
    assert (card.id, card.root, card.capabilities["completion_fim"]) == ("mistral-small", "echo", True)
    with pytest.raises(PermissionDeniedError, match="mistral-small is a base model and cannot be deleted"):
        client.delete_model("mistral-small")
    assert client.retrieve_model("mistral-small").id == "mistral-small"


@pytest.mark.parametrize("name", ["nope", "..", "a/b", "../../etc/passwd", "%2e%2e%2f", "a\0b", "C:\\x", "é?#"])
def test_a_name_that_nobody_has(client, name):
    for call in (client.retrieve_model, client.delete_model):
        with pytest.raises(NotFoundError, match="Invalid model: ") as raised:
            call(name)
        assert raised.value.code == "1500"
