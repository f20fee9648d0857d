"""The application and local mode over an engine that repeats what it is told: sync, asyncio and trio."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace

import anyio
import httpx
import numpy as np
import pytest

from mistral_client import (
    InvalidRequestError,
    LocalModelError,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
)
from mistral_client.server.app import create_app, the_models
from mistral_client.server.cards import ALIASES
from mistral_client.server.common_direction import SENTENCES
from mistral_client.server.engine import (
    ContextLengthError,
    EngineError,
    Generation,
    GenerationCancelled,
    Piece,
    TokenLogprob,
    TokenText,
)
from mistral_client.server.errors import WireError
from mistral_client.server.loading import Loaded
from mistral_client.server.local import AsyncTransport, LocalServer, SyncTransport
from mistral_client.server.models import Models
from tests.conftest import HELLO


class EchoEngine:
    """Answers with the words of the prompt, one by one. Its token ids are code points; 0 and 1 are control tokens."""

    context_length = 600
    slots = 2
    chat_template = "<|im_start|>"
    is_embedding_model = False
    follows_grammars = True

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.reading = 0.0
        self.prompts: list[str] = []
        self.samplings = []
        self.running = 0
        self.most_running = 0
        self.steps = 0
        self.closed = False
        self.lock = threading.Lock()

    def token_id(self, token: str) -> int | None:
        return {"<|im_start|>": 0, "<|im_end|>": 1}.get(token)

    def tokenize(self, parts):
        return [token for part in parts for token in ([part] if isinstance(part, int) else map(ord, part))]

    def texts_of(self, tokens):
        names = {0: b"<|im_start|>", 1: b"<|im_end|>"}
        return [TokenText(names.get(token) or chr(token).encode(), token in names) for token in tokens]

    def generate(self, prompt: Sequence[int], sampling, emit) -> Generation:
        text = "".join(map(chr, prompt))
        with self.lock:
            self.prompts.append(text)
            self.samplings.append(sampling)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            question = text.rpartition("user\n")[2].partition("\1")[0]
            words = [word + " " for word in question.split()] * (1000 if question.startswith("forever") else 1)
            emit(Piece(""))
            if self.reading:
                time.sleep(self.reading)
                emit(Piece(""))
            for count, word in enumerate(words):
                if count == sampling.max_tokens:
                    return Generation("length", len(prompt), count)
                if word == "crash ":
                    raise EngineError("out of cheese")
                if word == "bug ":
                    raise ZeroDivisionError
                if word == "memory ":
                    raise MemoryError
                self.steps += 1
                tokens = ()
                if sampling.logprobs is not None:
                    top = (TokenLogprob("?", 0, -0.9),) * sampling.logprobs
                    tokens = (TokenLogprob(word, len(word), -0.5, top),)
                if emit(Piece(word, tokens)):
                    raise GenerationCancelled
                time.sleep(self.pause)
            return Generation("stop", len(prompt), len(words))
        finally:
            with self.lock:
                self.running -= 1

    def embed(self, prompts):
        if any(len(prompt) > self.context_length for prompt in prompts):
            raise ContextLengthError(max(map(len, prompts)), self.context_length)
        return [[float(len(prompt)), float(prompt[0]), 1.0] for prompt in prompts]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine():
    return EchoEngine()


@pytest.fixture
def server(engine):
    server = LocalServer(lambda: Loaded("echo", "Repeats.", engine))
    yield server
    server.close()
    assert engine.closed


@pytest.fixture
def client(make_client, flavour, server):
    transport = SyncTransport(server) if flavour == "sync" else AsyncTransport(server)
    server.start()
    return make_client("key", "http://local", 0, 10, transport=transport)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "f",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        },
    }
]


def calling(id="abcdefghi", name="f", arguments='{"a": 1}'):
    call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return [*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}]


CALLED = calling()
RESULT = {"role": "tool", "content": "4", "tool_call_id": "abcdefghi", "name": "f"}


def say(text, **more):
    return [{"role": "user", "content": text, **more}]


def eventually(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_chat(client, engine):
    answer = client.chat(
        say("one two three"), "mistral-small", max_tokens=2, temperature=0.0, top_p=0.5, random_seed=4, stop="x"
    )
    assert answer.choices[0].message.content == "one two "
    assert answer.choices[0].finish_reason == "length"
    assert (answer.model, answer.object, len(answer.id)) == ("mistral-small", "chat.completion", 32)
    prompt = "\0user\none two three\1\n\0assistant\n"
    assert engine.prompts == [prompt]
    assert answer.usage.model_dump() == {
        "prompt_tokens": len(prompt),
        "total_tokens": len(prompt) + 2,
        "completion_tokens": 2,
    }
    sampling = engine.samplings[0]
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.random_seed, sampling.stop) == (
        2,
        0,
        0.5,
        4,
        ("x",),
    )


def test_what_is_not_given_is_the_apis_default(client, engine):
    client.chat(say("hi"), "mistral-small")
    sampling = engine.samplings[0]
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.random_seed, sampling.stop) == (
        None,
        0.7,
        1,
        None,
        (),
    )
    assert (sampling.presence_penalty, sampling.frequency_penalty, sampling.grammar) == (0, 0, None)


def test_an_answer_without_a_limit_has_the_models_own(make_client, flavour):
    server = LocalServer(lambda: Loaded("echo", "", EchoEngine(), max_tokens=3))
    transport = SyncTransport(server) if flavour == "sync" else AsyncTransport(server)
    client = make_client("key", "http://local", transport=transport)
    for limit, length in ((None, 3), (5, 5)):
        answer = client.chat(say("a b c d e f g"), "mistral-tiny", max_tokens=limit)
        assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (length, "length")
    server.close()


def test_stream(client):
    chunks = list(client.chat_stream(say("one two"), "mistral-tiny"))
    first, *middle, last = chunks
    assert first.choices[0].delta.model_dump(exclude_unset=True) == {"role": "assistant", "content": ""}
    assert [chunk.choices[0].delta.content for chunk in middle] == ["one ", "two "]
    assert last.choices[0].delta.content == ""
    assert last.choices[0].finish_reason == "stop"
    assert last.usage.completion_tokens == 2
    assert {chunk.id for chunk in chunks} == {first.id}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk.usage for chunk in chunks[:-1]} == {None}


def test_chunks_come_while_the_engine_works(client, engine):
    engine.pause = 0.05
    with client.chat_stream(say("forever"), "mistral-tiny") as stream:
        for _ in range(3):
            next(stream)
        assert engine.steps < 10


def test_the_answer_may_hold_what_looks_like_the_end(client):
    text = "data: [DONE] \u2028 é🧀 [DONE]"
    stream = client.chat_stream(say(text), "mistral-tiny")
    assert "".join(chunk.choices[0].delta.content for chunk in stream).split() == text.split()


def test_control_tokens_of_the_prompt_are_the_formats_own(client, engine):
    client.chat(
        [{"role": "system", "content": "S"}, *say("u1"), {"role": "assistant", "content": "a", "prefix": True}],
        "mistral-tiny",
        safe_prompt=True,
    )
    prompt = engine.prompts[0]
    assert prompt.startswith("\0system\nAlways assist with care, respect, and truth. ")
    assert prompt.endswith("\1\n\0system\nS\1\n\0user\nu1\1\n\0assistant\na")


def test_text_chunks_are_text(client, engine):
    client.chat(say([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]), "mistral-tiny")
    assert "user\none two\1" in engine.prompts[0]


CALL = '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}]'


@pytest.mark.parametrize("choice", ["auto", "any", "required", {"type": "function", "function": {"name": "f"}}])
def test_a_call_comes_whole(client, engine, choice):
    arguments = {"messages": say(CALL), "model": "mistral-tiny", "tools": TOOLS, "tool_choice": choice}
    answer = client.chat(**arguments).choices[0]
    assert (answer.finish_reason, answer.message.content) == ("tool_calls", "")
    call = answer.message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments), call.index) == ("f", {"a": 1}, 0)
    assert re.fullmatch("[a-zA-Z0-9]{9}", call.id)
    assert engine.samplings[0].grammar
    role, last = [chunk.choices[0] for chunk in client.chat_stream(**arguments)]
    assert (role.delta.role, role.delta.tool_calls, role.finish_reason) == ("assistant", None, None)
    assert (last.delta.content, last.finish_reason) == ("", "tool_calls")
    assert last.delta.tool_calls[0].function == call.function


def test_beside_tools_an_answer_may_be_text(client, engine):
    for text in ("[TOOL_ one two", "plain", "[TOOL_"):
        answer = client.chat(say(text), "mistral-tiny", tools=TOOLS).choices[0]
        assert (answer.message.content.strip(), answer.message.tool_calls, answer.finish_reason) == (text, None, "stop")
        chunks = list(client.chat_stream(say(text), "mistral-tiny", tools=TOOLS))
        assert "".join(chunk.choices[0].delta.content for chunk in chunks).strip() == text
    client.chat(say("hi"), "mistral-tiny", tools=TOOLS, tool_choice="none")
    assert engine.samplings[-1].grammar is None
    assert '"f"' not in engine.prompts[-1]


def test_a_call_that_is_cut_is_no_call(client):
    answer = client.chat(say(CALL), "mistral-tiny", tools=TOOLS, max_tokens=1).choices[0]
    assert (answer.message.tool_calls, answer.finish_reason) == (None, "length")
    assert answer.message.content.strip() == CALL.split(maxsplit=1)[0]


def test_calls_and_results_are_part_of_the_conversation(client, engine):
    engine.context_length = 2000
    client.chat([*CALLED, RESULT], "mistral-tiny", tools=TOOLS)
    assert '"a": 1' in engine.prompts[0]
    assert "4" in engine.prompts[0].rpartition('"a": 1')[2]


def test_early_programs_answer_a_call_by_its_name(client, engine):
    engine.context_length = 2000
    result = {"role": "tool", "content": "4", "name": "f"}
    assert client.chat([*CALLED, result], "mistral-tiny", tools=TOOLS).choices


def test_several_answers(client, engine):
    answer = client.chat(say("a b"), "mistral-tiny", n=3, random_seed=7)
    assert [(choice.index, choice.message.content) for choice in answer.choices] == [(n, "a b ") for n in range(3)]
    assert sorted(sampling.random_seed for sampling in engine.samplings) == [7, 8, 9]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(engine.prompts[0]), 6)
    chunks = list(client.chat_stream(say("a b"), "mistral-tiny", n=3))
    texts = ["".join(c.choices[0].delta.content for c in chunks if c.choices[0].index == n) for n in range(3)]
    assert texts == ["a b "] * 3
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [6]


def test_log_probabilities(client, engine):
    answer = client.chat(say("a é"), "mistral-tiny", logprobs=True, top_logprobs=1)
    assert engine.samplings[0].logprobs == 1
    tokens = answer.choices[0].logprobs.content
    assert [(token.token, token.logprob, token.bytes) for token in tokens] == [
        ("a ", -0.5, [97, 32]),
        ("é ", -0.5, [195, 169, 32]),
    ]
    assert [[other.token for other in token.top_logprobs] for token in tokens] == [["?"], ["?"]]
    chunks = list(client.chat_stream(say("a é"), "mistral-tiny", logprobs=True))
    streamed = [token for chunk in chunks if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content]
    assert [token.token for token in streamed] == ["a ", "é "]
    assert client.chat(say("a"), "mistral-tiny").choices[0].logprobs is None


def test_the_answer_holds_its_prefix(client):
    messages = [*say("x y"), {"role": "assistant", "content": "so: ", "prefix": True}]
    assert client.chat(messages, "mistral-tiny").choices[0].message.content == "so: x y "
    chunks = client.chat_stream(messages, "mistral-tiny")
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == "so: x y "


def test_a_stream_shows_signs_of_life_while_a_long_prompt_is_read(server, engine):
    engine.reading = 1.5
    server.start()
    with httpx.Client(transport=SyncTransport(server), base_url="http://local") as http:
        body = {"model": "mistral-tiny", "messages": say("one"), "stream": True}
        lines = http.post("/v1/chat/completions", json=body).text.split("\n\n")
    assert lines[1] == ": still working"
    assert '"content":"one "' in lines[2]


def test_models(client):
    models = client.list_models().data
    assert [card.id for card in models] == ["echo", *ALIASES]
    assert {card.id for card in models if card.deprecation} == {"mistral-tiny", "open-mistral-7b", "open-mixtral-8x7b"}
    for card in models:
        assert (card.object, card.owned_by, card.max_context_length, card.description) == (
            "model",
            "mistralai",
            600,
            "Repeats.",
        )
        assert card.capabilities["completion_chat"] is True
        assert card.permission[0].object == "model_permission"


def test_embeddings(client):
    answer = client.embeddings("mistral-embed", ["a", "bcd"])
    vectors = np.array([item.embedding for item in answer.data])
    assert vectors.shape == (2, 1024)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    # What all vectors share is taken out, as some sentences show it; the constant third number is left with nothing.
    shared = np.array([[len(sentence), ord(sentence[0]), 1] for sentence in SENTENCES])
    bare = [(np.array(own) - shared.mean(0))[:2] / shared.std(0)[:2] for own in ([1, ord("a"), 1], [3, ord("b"), 1])]
    expected = bare[0] @ bare[1] / np.linalg.norm(bare[0]) / np.linalg.norm(bare[1])
    assert vectors[1] @ vectors[0] == pytest.approx(expected, abs=1e-6)
    assert not vectors[:, 2:].any()
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.usage.model_dump() == {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": 0}
    packed = client.embeddings("mistral-embed", "bcd", encoding_format="base64").data[0].embedding
    assert np.allclose(np.frombuffer(base64.b64decode(packed), "<f4"), vectors[1])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ({"model": "gpt-4"}, "1500", "Invalid model: gpt-4"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "x"}]}, "3230", "Expected last role User or Tool"),
        ({"messages": [{"role": "system", "content": "x"}]}, "3230", "got system"),
        (
            {"messages": [{"role": "assistant", "content": ""}, *HELLO]},
            "3240",
            "must have either content or tool_calls",
        ),
        ({"messages": say("x" * 600)}, "3051", "too large for model with 600 maximum context length"),
        ({"messages": say([{"type": "image_url", "image_url": "https://x"}])}, "3051", "image_url"),
        ({"messages": [{"role": "tool", "content": "4", "tool_call_id": "abcdefghi"}]}, "3230", "role 'tool'"),
        ({"messages": [*HELLO, {"role": "tool", "content": "4"}]}, "3230", "role 'tool' after role 'user'"),
        ({"messages": [*CALLED, *HELLO]}, "3230", "Not the same number of function calls and responses"),
        ({"messages": [*CALLED, RESULT, RESULT]}, "3230", "Not the same number of function calls and responses"),
        ({"messages": [*CALLED, RESULT, *HELLO]}, "3230", "Unexpected role 'user' after role 'tool'"),
        ({"messages": [*CALLED, {**RESULT, "tool_call_id": "no"}]}, "3280", "Tool call id was no but must be"),
        ({"messages": [*calling(id="1234567890"), RESULT]}, "3280", "Tool call id was 1234567890 but must be"),
        ({"messages": [*calling(name="a b"), RESULT]}, "3280", "Function name was a b but must be"),
        ({"messages": [*calling(arguments="{"), RESULT]}, "3280", "not JSON"),
        ({"messages": [*HELLO, {**CALLED[1], "prefix": True}]}, "3240", "prefix"),
        ({"tool_choice": "any"}, "3051", "tool_choice=any needs tools"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "3051",
            "no tool is called 'g'",
        ),
        ({"tools": [*TOOLS, *TOOLS]}, "3051", "same name"),
        ({"tools": TOOLS, "response_format": {"type": "json_object"}}, "3051", "response_format"),
        (
            {"tools": TOOLS, "messages": [*HELLO, {"role": "assistant", "content": "x", "prefix": True}]},
            "3051",
            "prefix",
        ),
        ({"top_logprobs": 2}, "3051", "logprobs to be true"),
        ({"min_tokens": 5}, "3051", "min_tokens=5"),
        ({"prompt_logprobs": True}, "3051", "prompt_logprobs"),
        ({"top_prompt_logprobs": 2}, "3051", "top_prompt_logprobs=2"),
        ({"prediction": {"type": "content", "content": "x"}}, "3051", "prediction"),
    ],
)
def test_what_cannot_be_done_is_refused(client, arguments, code, message):
    arguments = {"messages": HELLO, "model": "mistral-tiny", **arguments}
    for call in (client.chat, lambda **options: list(client.chat_stream(**options))):
        with pytest.raises(InvalidRequestError, match=message) as raised:
            call(**arguments)
        assert (raised.value.http_status, raised.value.code) == (400, code)
        assert raised.value.request_id


def test_options_that_ask_for_nothing_are_no_reason_to_refuse(client):
    client.chat(
        HELLO,
        "mistral-tiny",
        n=1,
        tools=[],
        tool_choice="auto",
        logprobs=False,
        parallel_tool_calls=True,
        metadata={"a": 1},
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ({"model": "nope"}, "1500", "Invalid model: nope"),
        ({"input": ["x"] * 513}, "3210", "Too many inputs in request, split into more batches."),
        ({"input": ["x" * 150] * 150}, "3210", "Too many tokens overall, split into more batches."),
        ({"input": ["x" * 601]}, "3051", "too large"),
        ({"input": [""]}, "3051", "empty"),
        ({"output_dimension": 1025}, "3051", "output_dimension"),
    ],
)
def test_embeddings_that_cannot_be_made_are_refused(client, arguments, code, message):
    with pytest.raises(InvalidRequestError, match=message) as raised:
        client.embeddings(**{"model": "mistral-embed", "input": "x", **arguments})
    assert raised.value.code == code


def test_no_inputs_no_vectors(client):
    assert client.embeddings("mistral-embed", []).data == []


@pytest.mark.parametrize(
    ("extra", "where"),
    [
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 2**63}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0"),
        ({"messages": "hello"}, "messages"),
        ({"model": None}, "model"),
    ],
)
def test_fields_that_are_wrong_are_named(client, extra, where):
    with pytest.raises(InvalidRequestError, match=where) as raised:
        client.chat(HELLO, "mistral-tiny", extra_body=extra)
    assert raised.value.http_status == 422
    assert json.loads(raised.value.body)["detail"][0]["loc"][0] == "body" if len(raised.value.body) < 500 else True


def test_a_failing_engine_is_a_500_and_serves_on(client):
    for words, message in (("crash", "out of cheese"), ("bug", "Service unavailable")):
        with pytest.raises(ServerError, match=message) as raised:
            client.chat(say(words), "mistral-tiny")
        assert raised.value.http_status == 500
        assert "Traceback" not in str(raised.value.body)
    assert client.chat(say("fine"), "mistral-tiny").choices[0].message.content == "fine "


def test_a_failure_in_mid_stream_is_an_error_event(client):
    seen = []
    with pytest.raises(ServerError, match="out of cheese"):
        seen.extend(client.chat_stream(say("one crash"), "mistral-tiny"))
    assert seen[-1].choices[0].delta.content == "one "


def test_what_the_engine_refuses_is_no_stream(client):
    with pytest.raises(ServerError, match="out of cheese") as raised:
        list(client.chat_stream(say("crash"), "mistral-tiny"))
    assert raised.value.type == "internal_server_error"
    assert raised.value.attempts == 1, "the status said so, before any event"


def test_a_bug_in_mid_stream_interrupts_it(client):
    with pytest.raises((StreamInterrupted, ServerError)):
        list(client.chat_stream(say("one bug"), "mistral-tiny"))
    assert client.chat(say("fine"), "mistral-tiny").choices[0].message.content == "fine "


def test_who_leaves_ends_the_generation(client, engine):
    engine.pause = 0.01
    stream = client.chat_stream(say("forever"), "mistral-tiny")
    for _ in range(3):
        next(stream)
    stream.close()
    eventually(lambda: engine.running == 0)
    assert engine.steps < 500


def test_a_timeout_ends_the_generation(client, engine):
    engine.pause = 0.01
    with pytest.raises(RequestTimeout):
        client.chat(say("forever"), "mistral-tiny", timeout=0.2)
    eventually(lambda: engine.running == 0)
    assert engine.steps < 500


def test_no_more_run_than_there_are_slots_and_the_rest_wait(client, engine):
    engine.pause = 0.01
    streams = [client.chat_stream(say("a b c d e"), "mistral-tiny") for _ in range(6)]
    for stream in streams:
        next(stream)
    assert ["".join(chunk.choices[0].delta.content for chunk in stream) for stream in streams] == ["a b c d e "] * 6
    assert engine.most_running == 2


def test_retired_names_say_so(server):
    server.start()
    with httpx.Client(transport=SyncTransport(server), base_url="http://local") as http:
        for name, timestamp in (("mistral-tiny", "2025-03-30T00:00:00Z"), ("mistral-small", None)):
            for stream in (False, True):
                body = {"model": name, "messages": HELLO, "stream": stream}
                headers = http.post("/v1/chat/completions", json=body).headers
                assert headers.get("x-model-deprecation-timestamp") == timestamp


def test_unknown_paths(server):
    server.start()
    with httpx.Client(transport=SyncTransport(server), base_url="http://local") as http:
        answer = http.get("/v1/nonsense")
        assert (answer.status_code, answer.json()["message"]) == (404, "no Route matched with those values")
        assert answer.json()["request_id"] == answer.headers["mistral-correlation-id"]
        assert http.get("/v1/models/nope").json()["code"] == "1500"
        assert http.get("/v1/models/mistral-small").json()["id"] == "mistral-small"
        assert http.get("/v1/chat/completions").status_code == 405
        assert http.get("/health").json() == {"status": "ok", "model": "echo", "loaded": ["echo"]}
        assert set(http.get("/openapi.json").json()["paths"]) >= {
            "/v1/chat/completions",
            "/v1/embeddings",
            "/v1/models",
        }


def test_a_lenient_server_drops_what_it_does_not_know(caplog):
    app = create_app(models=Models([Loaded("echo", "", EchoEngine())]), lenient=True)
    tool = {"type": "function", "function": {"name": "f", "parameters": {}, "cache": True}}
    body = {"model": "echo", "messages": HELLO, "surprise": 1, "tools": [tool], "tool_choice": "none"}

    async def ask():
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://local") as http,
        ):
            answer = await http.post("/v1/chat/completions", json=body)
            return answer, await http.post("/v1/chat/completions", json={**body, "temperature": 9})

    answer, refused = anyio.run(ask)
    assert answer.json()["choices"][0]["message"]["content"] == "hello "
    assert all(name in caplog.text for name in ("'surprise'", "'tools.0.function.cache'"))
    assert [issue["loc"] for issue in refused.json()["detail"]] == [["body", "temperature"]]


RAW = {
    "empty": (b"", 422),
    "no JSON": (b"not json", 400),
    "cut": (b'{"model": "mistral-ti', 400),
    "null": (b"null", 422),
    "list": (b"[]", 422),
    "NaN": (b'{"model": "mistral-tiny", "temperature": NaN}', 400),
    "infinity": (b'{"model": "mistral-tiny", "metadata": {"x": Infinity}}', 400),
    "half a surrogate pair": (b'{"model": "\\ud800"}', 400),
    "bytes that are no UTF-8": (b'{"model": "\xff"}', 400),
    "deep": (b"[" * 100_000, 400),
    "a number beyond any": (b'{"temperature": 1e999}', 422),
    "a type that is none": (b'{"model": "echo", "messages": [{"role": "user", "content": [{"type": []}]}]}', 422),
    "5,000 digits": (b'{"max_tokens": ' + b"9" * 5000 + b"}", 400),
}


@pytest.mark.parametrize(("body", "status"), RAW.values(), ids=RAW)
def test_bodies_that_no_client_would_send(server, body, status):
    server.start()
    with httpx.Client(transport=SyncTransport(server), base_url="http://local") as http:
        answer = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status, answer.text
        assert "detail" in answer.json()


def test_before_the_model_is_loaded_nothing_is_ready():
    app = create_app(models=Models([Loaded("echo", "", EchoEngine())]))
    with pytest.raises(WireError, match="not loaded"):
        anyio.run(the_models, SimpleNamespace(app=app))


# --- the server in this process ---


def test_what_cannot_be_loaded_is_a_typed_error(make_client, flavour):
    calls = []

    def load():
        calls.append(1)
        raise EngineError("no such tensor")

    server = LocalServer(load)
    transport = SyncTransport(server) if flavour == "sync" else AsyncTransport(server)
    client = make_client("key", "http://local", transport=transport)
    for _ in range(2):
        with pytest.raises(LocalModelError, match="no such tensor"):
            client.chat(HELLO, "mistral-tiny")
    assert len(calls) == 2, "tried again by the next call, not by this one"


def test_a_model_nobody_knows_how_to_prompt():
    engine = EchoEngine()
    engine.chat_template = "{% for %}"
    server = LocalServer(lambda: Loaded("echo", "", engine))
    with pytest.raises(LocalModelError, match="chat template"):
        server.start()
    assert engine.closed


def test_many_clients_start_one_server():
    engine = EchoEngine()
    loads = []

    def load():
        loads.append(1)
        time.sleep(0.1)
        return Loaded("echo", "", engine)

    server = LocalServer(load)
    threads = [threading.Thread(target=server.start) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert loads == [1]
    server.close()
    server.close()
    assert engine.closed


def test_a_closed_server_is_an_error_and_starts_again(make_client, flavour):
    server = LocalServer(lambda: Loaded("echo", "", EchoEngine()))
    transport = SyncTransport(server) if flavour == "sync" else AsyncTransport(server)
    client = make_client("key", "http://local", transport=transport)
    assert client.chat(HELLO, "mistral-tiny").choices[0].message.content == "hello "
    server.close()
    with pytest.raises(httpx.ConnectError, match="closed"):
        server.handle(httpx.Request("GET", "http://local/health"), b"", print)
    assert client.chat(HELLO, "mistral-tiny").choices[0].message.content == "hello "
    server.close()


def test_who_asked_may_be_gone_with_its_event_loop(server, engine, caplog):
    engine.pause = 0.01
    server.start()

    def gone(_message):
        raise RuntimeError("Event loop is closed")

    body = json.dumps({"model": "mistral-tiny", "messages": say("forever"), "stream": True}).encode()
    request = httpx.Request("POST", "http://local/v1/chat/completions", headers={"content-type": "application/json"})
    server.handle(request, body, gone)
    eventually(lambda: engine.steps > 0)
    eventually(lambda: engine.running == 0)
    assert engine.steps < 500
    assert not caplog.records


# --- bodies of many values, errors of many fields ---


def test_a_body_of_too_many_values_is_refused_unread(server):
    """Reading it would hold the event loop up for seconds. Text may be as long as it likes."""
    server.start()
    filler = {
        "lists": b"[],",
        "objects": b'{"a":1},',
        "strings": b'"ab",',
        "escapes": b'"\\"\\\\",',
    }
    with httpx.Client(transport=SyncTransport(server), base_url="http://local") as http:

        def post(body):
            return http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})

        for unit in filler.values():
            values = unit * 60_000
            answer = post(b'{"model": "echo", "messages": [], "metadata": {"x": [' + values[:-1] + b"]}}")
            assert answer.status_code == 400
            assert answer.json()["detail"] == "The body holds more than 50,000 values."
        for text in ("a, b: [c] {d}, " * 20_000, '\\", [' * 60_000, "\\\\" * 60_000 + ",", ',"' * 60_000):
            body = {"model": "echo", "messages": say("hi"), "metadata": {"x": text}}
            assert post(json.dumps(body).encode()).status_code == 200


def test_errors_of_many_fields_and_of_large_ones_stay_small(server):
    server.start()
    with httpx.Client(transport=SyncTransport(server), base_url="http://local") as http:
        wrong = {"role": "robot", "content": "x" * 2000}
        answer = http.post("/v1/chat/completions", json={"model": "echo", "messages": [wrong] * 3000})
        assert answer.status_code == 422
        assert len(answer.json()["detail"]) == 100
        assert len(answer.content) < 100_000
        answer = http.post("/v1/chat/completions", json={"messages": say("x" * 10**6), "stream": "perhaps"})
        issues = {issue["loc"][-1]: issue for issue in answer.json()["detail"]}
        assert issues["stream"]["input"] == "perhaps"
        assert "input" not in issues["model"], "that would be the whole body"
        answer = http.post("/v1/chat/completions", json={"stream": {"a": [1, {"b": "c"}]}})
        issues = {issue["loc"][-1]: issue for issue in answer.json()["detail"]}
        assert issues["stream"]["input"] == {"a": [1, {"b": "c"}]}
