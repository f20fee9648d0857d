"""The client with a server of vLLM's or SGLang's kind, and nothing in between."""

from __future__ import annotations

import json

import pytest

from mistral_client import AuthenticationError, InvalidRequestError, NotFoundError, RateLimitError, ServerError
from tests.conftest import HELLO, chunk, chunked_head, http

from .other_server import MODEL, answer, card, chunk_of, event, stream

CALL = {"id": "chatcmpl-tool-3f2a9c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
def straight(other_server, make_client):
    def make(*scripts, **options):
        server = other_server(*scripts, **options)
        return server, make_client("key", server.url + "/v1", max_retries=0)

    return make


@pytest.mark.parametrize("owner", ["vllm", "sglang"])
def test_the_models(straight, owner):
    _, client = straight(answer({}), cards=[card(owner, root=MODEL, parent=None, permission=[])])
    (found,) = client.list_models().data
    assert (found.id, found.owned_by, found.max_model_len) == (MODEL, owner, 4096)


def test_a_chat_with_fields_of_their_own(straight):
    server, client = straight(answer({"content": "Paris.", "reasoning": "hm"}))
    response = client.chat(HELLO, MODEL, max_tokens=5, extra_body={"seed": 3, "min_p": 0.1})
    message = response.choices[0].message
    assert (message.content, message.reasoning, response.usage.completion_tokens) == ("Paris.", "hm", 5)
    assert server.asked() == {"model": MODEL, "messages": HELLO, "max_tokens": 5, "seed": 3, "min_p": 0.1}


def test_a_stream_with_its_usage_at_the_end(straight):
    _, client = straight(stream(chunk_of({"content": "Paris."}), chunk_of({"content": ""}, "stop", stop_reason=None)))
    chunks = list(client.chat_stream(HELLO, MODEL, extra_body={"stream_options": {"include_usage": True}}))
    assert "".join(part.delta.content for each in chunks for part in each.choices) == "Paris."
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 14


def test_tool_calls(straight):
    _, client = straight(answer({"tool_calls": [CALL]}, "tool_calls"), answer({"content": "done"}))
    message = client.chat(HELLO, MODEL, tools=[TOOL], tool_choice="required").choices[0].message
    assert (message.content, message.tool_calls[0].id) == (None, CALL["id"])
    result = {"role": "tool", "tool_call_id": CALL["id"], "content": "1"}
    assert client.chat([*HELLO, message, result], MODEL, tools=[TOOL]).choices[0].message.content == "done"


def test_tool_calls_in_pieces(straight):
    first = {"index": 0, "id": CALL["id"], "type": "function", "function": {"name": "f", "arguments": ""}}
    rest = {"index": 0, "function": {"arguments": '{"a": 1}'}}
    _, client = straight(
        stream(chunk_of({"tool_calls": [first]}), chunk_of({"tool_calls": [rest]}), chunk_of({}, "tool_calls"))
    )
    calls = [
        call
        for each in client.chat_stream(HELLO, MODEL, tools=[TOOL])
        for part in each.choices
        for call in part.delta.tool_calls or ()
    ]
    assert [call.index for call in calls] == [0, 0]
    assert "".join(call.function.arguments for call in calls) == '{"a": 1}'


def test_embeddings(straight):
    body = {
        "id": "embd-1",
        "object": "list",
        "created": 1,
        "model": MODEL,
        "data": [{"index": 0, "object": "embedding", "embedding": [0.5, 0.5]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0},
    }
    _, client = straight([http(json.dumps(body).encode()), None])
    assert client.embeddings(MODEL, ["a"]).data[0].embedding == [0.5, 0.5]


def failing(status, body):
    return [http(json.dumps(body).encode(), status), None]


FAILURES = {
    "no such model": (
        failing("404 Not Found", {"error": {"message": "does not exist", "type": "NotFoundError", "code": 404}}),
        NotFoundError,
        "does not exist",
    ),
    "vLLM, too long": (
        failing("400 Bad Request", {"error": {"message": "maximum context length", "type": "BadRequestError"}}),
        InvalidRequestError,
        "maximum context length",
    ),
    "SGLang, too long": (
        failing("400 Bad Request", {"object": "error", "message": "longer than the model's context", "code": 400}),
        InvalidRequestError,
        "longer than the model's context",
    ),
    "a key": (failing("401 Unauthorized", {"error": "Unauthorized"}), AuthenticationError, "Unauthorized"),
    "full": (failing("429 Too Many Requests", {"error": {"message": "busy"}}), RateLimitError, "busy"),
    "broken": (failing("500 Internal Server Error", {"error": {"message": "died"}}), ServerError, "died"),
}


@pytest.mark.parametrize(("script", "kind", "words"), FAILURES.values(), ids=FAILURES)
def test_their_errors(straight, script, kind, words):
    _, client = straight(script)
    with pytest.raises(kind, match=words):
        client.chat(HELLO, MODEL)


def test_an_error_in_mid_stream(straight):
    died = event({"error": {"message": "EngineCore died", "type": "InternalServerError", "param": None, "code": 500}})
    said = [
        chunked_head(),
        chunk_of({"role": "assistant", "content": "Once"}),
        died,
        chunk(b"data: [DONE]\n\n"),
        b"0\r\n\r\n",
    ]
    _, client = straight(said)
    with pytest.raises(ServerError, match="EngineCore died") as caught:
        list(client.chat_stream(HELLO, MODEL))
    assert caught.value.text == "Once"
