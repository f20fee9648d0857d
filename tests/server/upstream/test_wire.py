"""What goes to a server of vLLM's kind, and what comes of its answers: from end to end, in real bytes."""

from __future__ import annotations

import json
import socket

import pytest

from mistral_client import (
    InvalidRequestError,
    MistralAPIException,
    RateLimitError,
    ServerError,
)
from tests.conftest import HELLO, chunk, chunked_head, http

from .other_server import MODEL, USAGE, answer, card, chunk_of, event, stream

TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather.", "parameters": {"type": "object"}},
}
CALL = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
LONG_ID = "chatcmpl-tool-3f2a9c0d7e6b4a51"


def asked(client, streamed, **options):
    return list(client.chat_stream(HELLO, MODEL, **options)) if streamed else client.chat(HELLO, MODEL, **options)


def error(message, status="400 Bad Request", kind="BadRequestError", *headers):
    body = {"error": {"message": message, "type": kind, "param": None, "code": int(status[:3])}}
    return [http(json.dumps(body).encode(), status, "application/json", *headers), None]


@pytest.fixture
def upstream(other_server, in_front, make_client):
    """A server with these scripts, and a client that reaches it through ours."""

    def make(*scripts, cards=None, **options):
        server = other_server(*scripts, cards=cards)
        return server, make_client(endpoint=in_front(server, options=options), max_retries=0)

    return make


def test_a_chat(upstream):
    server, client = upstream(answer({"content": "Paris."}))
    response = client.chat(HELLO, "mistral-small", random_seed=7, max_tokens=5, top_k=3, safe_prompt=True)
    assert response.choices[0].message.content == "Paris."
    assert (response.choices[0].finish_reason, response.model) == ("stop", "mistral-small")
    assert response.usage.model_dump() == {"prompt_tokens": 9, "total_tokens": 14, "completion_tokens": 5}
    assert len(response.id) == 32
    sent = server.asked()
    assert sent.pop("messages")[0]["content"].startswith("Always assist with care")
    assert sent == {"model": MODEL, "temperature": 0.7, "seed": 7, "max_tokens": 5, "top_k": 3}


def test_nothing_of_the_other_servers_own_comes_through(upstream):
    _, client = upstream(answer({"content": "Paris."}))
    response = client.chat(HELLO, MODEL)
    assert response.model_extra == {}
    assert response.choices[0].model_extra == response.choices[0].message.model_extra == {}


def test_a_stream_is_mistrals(upstream):
    server, client = upstream(stream(chunk_of({"content": "Par"}), chunk_of({"content": "is."}), chunk_of({}, "stop")))
    chunks = list(client.chat_stream(HELLO, MODEL))
    assert [each.choices[0].delta.content for each in chunks] == ["", "Par", "is.", ""]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [each.choices[0].finish_reason for each in chunks] == [None, None, None, "stop"]
    assert [each.usage for each in chunks[:-1]] == [None] * 3
    assert chunks[-1].usage.completion_tokens == 5
    assert server.asked()["stream_options"] == {"include_usage": True}


def test_several_answers_in_a_stream(upstream):
    said = [
        chunk_of({"content": "a"}),
        chunk_of({"content": "b"}, index=1),
        chunk_of({}, "stop", index=1),
        chunk_of({}, "length"),
    ]
    _, client = upstream(stream(*said))
    ends = {}
    for each in client.chat_stream(HELLO, MODEL, n=2):
        for choice in each.choices:
            if choice.finish_reason:
                ends[choice.index] = (choice.finish_reason, each.usage is not None)
    assert ends == {1: ("stop", False), 0: ("length", True)}


def test_tool_calls(upstream):
    calls = [{"id": LONG_ID, "type": "function", "function": CALL}]
    server, client = upstream(answer({"tool_calls": calls}, "stop"))
    choice = client.chat(HELLO, MODEL, tools=[TOOL], tool_choice="any").choices[0]
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "")
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    assert len(call.id) == 9
    assert call.id.isalnum()
    assert server.asked()["tools"] == [TOOL]
    assert server.asked()["tool_choice"] == "required"

    result = {"role": "tool", "name": "get_weather", "content": "sunny", "tool_call_id": call.id}
    client.chat([*HELLO, choice.message, result], MODEL, tools=[TOOL])
    _, asked, told = server.asked()["messages"]
    assert asked["tool_calls"] == [{"id": call.id, "type": "function", "function": CALL}]
    assert told == {"role": "tool", "content": "sunny", "tool_call_id": call.id}


def test_tool_calls_in_pieces(upstream):
    def piece(number, **function):
        return chunk_of({"tool_calls": [{"index": number, "function": function}]})

    begun = {"index": 0, "id": LONG_ID, "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    other = {"index": 1, "id": LONG_ID + "b", "type": "function", "function": {"name": "get_weather"}}
    pieces = [chunk_of({"tool_calls": [begun]}), piece(0, arguments='{"city"'), piece(0, arguments=': "Paris"}')]
    pieces += [chunk_of({"tool_calls": [other]}), piece(1, arguments="{}"), chunk_of({}, "tool_calls")]
    _, client = upstream(stream(*pieces))
    chunks = list(client.chat_stream(HELLO, MODEL, tools=[TOOL]))
    assert len(chunks) == 2  # the role, and all of the calls
    calls = chunks[-1].choices[0].delta.tool_calls
    assert [call.function.arguments for call in calls] == ['{"city": "Paris"}', "{}"]
    assert [(call.index, len(call.id)) for call in calls] == [(0, 9), (1, 9)]
    assert calls[0].id != calls[1].id
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert chunks[-1].usage.completion_tokens == 5


def test_results_of_the_time_before_call_ids(upstream):
    server, client = upstream(answer({"content": "ok"}))
    calls = [{"id": f"{letter}bcdefgh1", "function": CALL} for letter in "ax"]
    results = [{"role": "tool", "name": "get_weather", "content": text} for text in ("sun", "rain")]
    client.chat([*HELLO, {"role": "assistant", "content": "", "tool_calls": calls}, *results], MODEL, tools=[TOOL])
    told = server.asked()["messages"][2:]
    assert [(each["content"], each["tool_call_id"]) for each in told] == [("sun", "abcdefgh1"), ("rain", "xbcdefgh1")]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_that_was_asked_for_and_did_not_come(upstream, streamed):
    said = stream(chunk_of({"content": "No."}), chunk_of({}, "stop")) if streamed else answer({"content": "No."})
    _, client = upstream(said)
    with pytest.raises(ServerError, match="did not hold it to calling a tool"):
        asked(client, streamed, tools=[TOOL], tool_choice="any")


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_what_a_model_thought(upstream, field):
    _, client = upstream(answer({"content": "4", field: "2 and 2"}))
    thought, text = client.chat(HELLO, MODEL).choices[0].message.content
    assert (thought.type, thought.thinking[0]["text"]) == ("thinking", "2 and 2")
    assert (text.type, text.text) == ("text", "4")


def test_logprobs(upstream):
    told = {"content": [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]}
    server, client = upstream(answer({"content": "a"}, logprobs=told))
    choice = client.chat(HELLO, MODEL, logprobs=True, top_logprobs=2).choices[0]
    assert choice.logprobs.content[0].logprob == -0.1
    assert server.asked()["top_logprobs"] == 2


def test_a_schema_goes_along(upstream):
    server, client = upstream(answer({"content": "{}"}))
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    client.chat(HELLO, MODEL, response_format=wanted)
    assert server.asked()["response_format"] == wanted


def test_pictures_go_along(upstream):
    server, client = upstream(answer({"content": "a cat"}))
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": "data:image/png;base64,AA=="},
    ]
    client.chat([{"role": "user", "content": content}], MODEL)
    _, picture = server.asked()["messages"][0]["content"]
    assert picture == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


PREFIXED = [*HELLO, {"role": "assistant", "content": "Once", "prefix": True}]


def test_an_answer_that_goes_on(upstream):
    server, client = upstream(
        answer({"content": " upon"}), stream(chunk_of({"content": " upon"}), chunk_of({}, "stop"))
    )
    assert client.chat(PREFIXED, MODEL).choices[0].message.content == "Once upon"
    assert (server.asked()["add_generation_prompt"], server.asked()["continue_final_message"]) == (False, True)
    chunks = list(client.chat_stream(PREFIXED, MODEL))
    assert [each.choices[0].delta.content for each in chunks] == ["", "Once", " upon", ""]


def test_the_context_was_full(upstream):
    _, client = upstream(answer({"content": "and so"}, "length"))
    assert client.chat(HELLO, MODEL, max_tokens=5).choices[0].finish_reason == "length"
    assert client.chat(HELLO, MODEL, max_tokens=6).choices[0].finish_reason == "model_length"
    assert client.chat(HELLO, MODEL).choices[0].finish_reason == "model_length"


REFUSED = {
    "prompt_mode": ({"prompt_mode": "reasoning"}, "vllm"),
    "prediction": ({"prediction": {"content": "x"}}, "vllm"),
    "min_tokens": ({"min_tokens": 3}, "llamacpp"),
    "top_k": ({"top_k": 3}, "somebody"),
    "repetition_penalty": ({"repetition_penalty": 1.1}, "somebody"),
    "a prefix": ({"messages": PREFIXED}, "somebody"),
    "a document": (
        {"messages": [{"role": "user", "content": [{"type": "document_url", "document_url": "x"}]}]},
        "vllm",
    ),
    "an order": ({"messages": [{"role": "assistant", "content": "x"}]}, "vllm"),
    "tool_choice": ({"tool_choice": "any"}, "vllm"),
}


@pytest.mark.parametrize(("options", "owner"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused(upstream, options, owner):
    server, client = upstream(answer({"content": "?"}), cards=[card(owner)])
    with pytest.raises(InvalidRequestError) as caught:
        client.chat(**{"messages": HELLO, "model": MODEL, **options})
    assert caught.value.http_status == 400
    assert server.requests == []


def test_a_dialect_that_was_told(upstream):
    from mistral_client.server.upstream.dialect import SGLANG

    server, client = upstream(answer({"content": "x"}), cards=[card("somebody")], dialect=SGLANG)
    client.chat(HELLO, MODEL, min_tokens=2, repetition_penalty=1.2)
    assert (server.asked()["min_tokens"], server.asked()["repetition_penalty"]) == (2, 1.2)


def test_llama_cpp_has_its_own_words(upstream):
    server, client = upstream(answer({"content": "Once upon"}), cards=[card("llamacpp", meta={"n_ctx": 512})])
    answered = client.chat(PREFIXED, MODEL, repetition_penalty=1.2)
    assert server.asked()["repeat_penalty"] == 1.2
    assert answered.choices[0].message.content == "Once upon"  # it repeats the prefix itself


def test_embeddings(upstream):
    body = {
        "id": "embd-1",
        "object": "list",
        "model": MODEL,
        "data": [{"object": "embedding", "index": i, "embedding": [0.5, -0.5, i + 0.25]} for i in range(2)],
        "usage": {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": 0, "prompt_tokens_details": None},
    }
    server, client = upstream([http(json.dumps(body).encode()), None])
    plain = client.embeddings("mistral-embed", ["a", "b"])
    assert [each.embedding for each in plain.data] == [[0.5, -0.5, 0.25], [0.5, -0.5, 1.25]]
    assert plain.usage.model_dump() == {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": 0}
    assert server.asked() == {"model": MODEL, "input": ["a", "b"]}
    packed = client.embeddings(MODEL, ["a", "b"], encoding_format="base64", output_dimension=3, output_dtype="int8")
    assert packed.to_numpy("int8").tolist() == [[127, -127, 64], [51, -51, 127]]
    assert server.asked() == {"model": MODEL, "input": ["a", "b"], "dimensions": 3}


@pytest.mark.parametrize(
    "vectors", [[[0.5, 0.5], [0.5]], [[0.5, 0.5]], ["?", "?"]], ids=["of two lengths", "too few", "no vectors"]
)
def test_what_are_no_vectors_for_the_texts(upstream, vectors):
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    body = {
        "id": "embd-1",
        "object": "list",
        "model": MODEL,
        "data": data,
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    _, client = upstream([http(json.dumps(body).encode()), None])
    with pytest.raises(ServerError) as caught:
        client.embeddings(MODEL, ["a", "b"])
    assert (caught.value.http_status, caught.value.code) == (503, "1100")


def test_the_models(upstream):
    _, client = upstream(answer({"content": "?"}))
    cards = client.list_models().data
    assert [each.id for each in cards[:3]] == [MODEL, "mistral-tiny", "mistral-small"]
    assert cards[0].max_context_length == 4096
    assert client.retrieve_model(MODEL).owned_by == "mistralai"


def test_fim_is_refused(upstream):
    _, client = upstream(answer({"content": "?"}))
    with pytest.raises(InvalidRequestError, match="not supported"):
        client.completion(MODEL, "def f(", ")")


TOO_LONG = "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens."

FAILURES = {
    "too long": (error(TOO_LONG), InvalidRequestError, 400, "3051"),
    "wrong": (error("temperature must be non-negative"), InvalidRequestError, 400, None),
    "full": (
        error("busy", "429 Too Many Requests", "RateLimitError", "retry-after: 3"),
        RateLimitError,
        429,
        "3505",
    ),
    "a key": ([http(b'{"error":"Unauthorized"}', "401 Unauthorized"), None], ServerError, 500, "3000"),
    "broken": (error("boom", "500 Internal Server Error", "InternalServerError"), ServerError, 503, "1100"),
    "no JSON": ([http(b"<html>", "200 OK", "text/html"), None], ServerError, 503, "1100"),
    "a reset": ([b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-le"], ServerError, 503, "1100"),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("script", "kind", "status", "code"), FAILURES.values(), ids=FAILURES)
def test_errors_are_mistrals(upstream, script, kind, status, code, streamed):
    server, client = upstream(script)
    with pytest.raises(MistralAPIException) as caught:
        asked(client, streamed)
    told = caught.value
    assert (type(told), told.http_status, told.code) == (kind, status, code)
    assert server.url.rpartition(":")[2] not in str(told)
    if status == 429:
        assert told.retry_after == 3
    if code == "3051":
        assert "4096 tokens" in str(told)


BROKEN = {
    "an error": [event({"error": {"message": "out of memory", "type": "InternalServerError", "code": 500}})],
    "the end": [b"0\r\n\r\n"],
    "a cut": [],
    "no chunk": [event({"hello": 1})],
    "no reason": [USAGE, chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"],
}


@pytest.mark.parametrize("end", BROKEN.values(), ids=BROKEN)
def test_a_stream_that_breaks_is_an_error_with_what_came(upstream, end):
    _, client = upstream([chunked_head(), chunk_of({"role": "assistant", "content": "Once upon"}), *end])
    with pytest.raises(ServerError) as caught:
        list(client.chat_stream(HELLO, MODEL))
    assert (caught.value.text, caught.value.retryable) == ("Once upon", True)


def test_who_leaves_ends_the_others_work(upstream):
    gone = []

    def wait_for_the_end(connection: socket.socket) -> None:
        connection.settimeout(20)
        gone.append(connection.recv(1))

    said = [chunked_head(), chunk_of({"role": "assistant", "content": "Once"}), wait_for_the_end]
    server, client = upstream(said)
    with client.chat_stream(HELLO, MODEL) as chunks:
        next(chunks)
        next(chunks)
    client.list_models()
    server.close()
    assert gone == [b""]
