"""What clients get from the server, over real sockets."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import threading
import time

import httpx
import pytest

from mistral_client import (
    ArgumentError,
    FunctionCall,
    InvalidRequestError,
    MistralClient,
    NotFoundError,
    StreamInterrupted,
    ToolCall,
)
from mistral_client.testing import MistralServer

from ..conftest import HELLO


@pytest.fixture
def client(mistral_server):
    return mistral_server.client(api_key="a-key-of-the-test")


def say(text):
    return [{"role": "user", "content": text}]


def content(answer):
    return answer.choices[0].message.content


def pieces(stream):
    return [chunk.choices[0].delta.content for chunk in stream]


def test_one_reply_answers_as_a_whole_and_as_a_stream(client, mistral_server):
    mistral_server.reply("Paris is  nice.\n")
    assert content(client.chat(model="m", messages=HELLO)) == "Paris is  nice.\n"
    assert pieces(client.chat_stream(model="m", messages=HELLO)) == ["", "Paris", " is", "  nice.", "\n", ""]


def test_pieces_are_the_chunks(client, mistral_server):
    mistral_server.reply(["Par", "is", " 🌍"])
    assert pieces(client.chat_stream(model="m", messages=HELLO)) == ["", "Par", "is", " 🌍", ""]
    assert content(client.chat(model="m", messages=HELLO)) == "Paris 🌍"


def test_a_function_answers(client, mistral_server):
    mistral_server.reply(lambda request: f"{request.model} read {request.text!r}")
    assert content(client.chat(model="m", messages=HELLO)) == "m read 'hello'"


def test_nothing_can_be_said_too(client, mistral_server):
    mistral_server.reply("")
    assert content(client.chat(model="m", messages=HELLO)) == ""
    assert pieces(client.chat_stream(model="m", messages=HELLO)) == ["", ""]


def test_half_of_a_surrogate_pair_is_sent_as_json_can(mistral_server):
    mistral_server.reply("\ud83d")
    answer = httpx.post(f"{mistral_server.url}/v1/chat/completions", json={"model": "m", "messages": HELLO})
    assert answer.json()["choices"][0]["message"]["content"] == "\ud83d"


@pytest.mark.parametrize(
    "call",
    [
        {"name": "weather", "arguments": {"city": "Paris"}},
        {"function": {"name": "weather", "arguments": '{"city":"Paris"}'}},
        FunctionCall(name="weather", arguments={"city": "Paris"}),
        ToolCall(function=FunctionCall(name="weather", arguments={"city": "Paris"})),
    ],
)
def test_tools_are_called(mistral_server, call):
    mistral_server.reply(tool_calls=[call])
    client = mistral_server.client()
    choice = client.chat(model="m", messages=HELLO).choices[0]
    *_, last = client.chat_stream(model="m", messages=HELLO)
    for reason, calls in (
        (choice.finish_reason, choice.message.tool_calls),
        (last.choices[0].finish_reason, last.choices[0].delta.tool_calls),
    ):
        assert reason == "tool_calls"
        (called,) = calls
        assert (called.id, called.function.name, called.function.arguments) == (
            "call00001",
            "weather",
            '{"city":"Paris"}',
        )


def test_calls_are_numbered_through_unless_they_have_ids(client, mistral_server):
    mistral_server.reply("I look.", tool_calls=[{"name": "a"}, {"id": "mineisabc", "function": {"name": "b"}}])
    mistral_server.reply(tool_calls=[{"name": "c"}])
    calls = client.chat(model="m", messages=HELLO).choices[0].message.tool_calls
    calls += client.chat(model="m", messages=HELLO).choices[0].message.tool_calls
    assert [(call.id, call.index, call.function.arguments) for call in calls] == [
        ("call00001", 0, "{}"),
        ("mineisabc", 1, "{}"),
        ("call00002", 0, "{}"),
    ]


def test_a_turn_with_tools_goes_through(client, mistral_server):
    mistral_server.reply(tool_calls=[{"name": "weather", "arguments": {"city": "Paris"}}], when="weather")
    mistral_server.reply(lambda request: f"It is {request.text}.", when="sunny")
    asked = client.chat(model="m", messages=say("the weather?")).choices[0].message
    told = {"role": "tool", "content": "sunny", "tool_call_id": asked.tool_calls[0].id, "name": "weather"}
    assert content(client.chat(model="m", messages=[*say("the weather?"), asked, told])) == "It is sunny."


def test_several_answers(client, mistral_server):
    mistral_server.reply(["a", "b"])
    answer = client.chat(model="m", messages=HELLO, n=2)
    assert [choice.message.content for choice in answer.choices] == ["ab", "ab"]
    assert answer.usage.completion_tokens == 4
    chunks = list(client.chat_stream(model="m", messages=HELLO, n=2))
    assert [chunk.choices[0].index for chunk in chunks] == [0, 1] * 4
    assert [chunk.usage is None for chunk in chunks] == [True] * 7 + [False]


def test_reason_and_usage(client, mistral_server):
    mistral_server.reply("a b c", finish_reason="length", usage={"prompt_tokens": 5, "completion_tokens": 7})
    answer = client.chat(model="m", messages=HELLO)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.model_dump() == {"prompt_tokens": 5, "total_tokens": 12, "completion_tokens": 7}


def test_a_hole_in_a_text(client, mistral_server):
    mistral_server.reply("return 1", when="def f")
    assert content(client.completion("m", "def f():\n", "\n")) == "return 1"
    assert pieces(client.completion_stream("m", "def f():\n")) == ["", "return", " 1", ""]


def test_vectors_in_order_or_by_text(client, mistral_server):
    mistral_server.reply_embeddings([[1.0, 0.0], [0.0, 1.0]], times=1)
    mistral_server.reply_embeddings({"dog": [0.5], "cat": [0.25]})
    first = client.embeddings("m", ["a", "b"])
    assert [each.embedding for each in first.data] == [[1, 0], [0, 1]]
    second = client.embeddings("m", ["cat", "dog"])
    assert [each.embedding for each in second.data] == [[0.25], [0.5]]
    assert second.usage.completion_tokens == 0


def test_vectors_that_are_made_up(client, mistral_server):
    mistral_server.reply_embeddings()
    cat, again, dog = (each.embedding for each in client.embeddings("m", ["cat", "cat", "dog"]).data)
    assert cat == again
    assert len(cat) == 1024
    assert math.hypot(*cat) == pytest.approx(1)
    assert abs(math.sumprod(cat, dog) if hasattr(math, "sumprod") else sum(map(float.__mul__, cat, dog))) < 0.2
    (short,) = client.embeddings("m", "cat", output_dimension=8).data
    assert len(short.embedding) == 8


@pytest.mark.parametrize(
    ("dtype", "code", "vector"), [("float", "f", [0.5, -1.0]), ("int8", "b", [-3, 4]), ("ubinary", "B", [200])]
)
def test_vectors_as_base64(client, mistral_server, dtype, code, vector):
    mistral_server.reply_embeddings([vector])
    answer = client.embeddings("m", "a", encoding_format="base64", output_dtype=dtype)
    assert base64.b64decode(answer.data[0].embedding) == struct.pack(f"<{len(vector)}{code}", *vector)


def test_models(client, mistral_server):
    mistral_server.reply_models(["mistral-small", {"id": "ft:mine/1", "owned_by": "me"}])
    assert [card.id for card in client.list_models().data] == ["mistral-small", "ft:mine/1"]
    assert client.retrieve_model("mistral-small").capabilities["completion_chat"]
    assert client.retrieve_model("ft:mine/1").owned_by == "me"
    assert client.delete_model("ft:mine/1").deleted
    with pytest.raises(NotFoundError, match="Invalid model: other"):
        client.retrieve_model("other")


def test_what_mistral_refuses_is_refused(client, mistral_server):
    mistral_server.reply("never said")
    with pytest.raises(InvalidRequestError, match="max_token: Extra inputs are not permitted") as caught:
        client.chat(model="m", messages=HELLO, extra_body={"max_token": 3})
    assert caught.value.http_status == 422
    with pytest.raises(InvalidRequestError, match="Expected last role User or Tool") as caught:
        client.chat(model="m", messages=[*HELLO, {"role": "assistant", "content": "hi"}])
    assert (caught.value.http_status, caught.value.code) == (400, "3230")


def test_requests_are_kept(client, mistral_server):
    mistral_server.reply("x")
    mistral_server.reply_embeddings()
    began = time.monotonic()
    list(
        client.chat_stream(
            model="large", messages=[*HELLO, {"role": "user", "content": [{"type": "text", "text": "you"}]}]
        )
    )
    client.embeddings("m", ["a", "b"], extra_headers={"x-mine": "1"})
    chat, embeddings = mistral_server.requests
    assert (chat.method, chat.path, chat.model, chat.stream, chat.text, chat.status) == (
        "POST",
        "/v1/chat/completions",
        "large",
        True,
        "you",
        200,
    )
    assert chat.messages[0] == HELLO[0]
    assert chat.parsed.messages[1].content[0].text == "you"
    assert began <= chat.time <= embeddings.time <= time.monotonic()
    assert embeddings is mistral_server.last
    assert embeddings.body == {"model": "m", "input": ["a", "b"]}
    assert embeddings.text == "a\nb"
    assert embeddings.headers["x-mine"] == "1"
    assert embeddings.headers["authorization"] == "***"
    assert "a-key-of-the-test" not in repr(vars(mistral_server)) + repr(chat) + str(chat)


def test_calls_are_asserted(mistral_server):
    with pytest.raises(AssertionError, match="asked nothing"):
        _ = mistral_server.last
    with pytest.raises(AssertionError, match="at least 1 such requests expected, there were 0 of these:\n  no request"):
        mistral_server.assert_called()
    mistral_server.reply("x")
    client = mistral_server.client()
    for model, text in (("small", "one"), ("large", "two"), ("large", "three")):
        client.chat(model=model, messages=say(text))
    assert len(mistral_server.assert_called()) == 3
    (two,) = mistral_server.assert_called(1, model="large", when="two")
    assert two.text == "two"
    mistral_server.assert_called(2, model=re.compile("l.r"))
    mistral_server.assert_called(3, path="/v1/chat/completions")
    mistral_server.assert_called(0, path="/v1/embeddings")
    with pytest.raises(
        AssertionError, match=r"3 such requests expected, there were 2 of these:\n  POST .* small 'one' -> 200\n"
    ):
        mistral_server.assert_called(3, model="large")


def test_what_is_not_scripted_is_told_to_both_sides(client):
    with MistralServer() as server:
        server.reply("sunny", when="weather")
        server.reply_models(["m"])
        with pytest.raises(InvalidRequestError, match="no reply is scripted"):
            server.client().chat(model="m", messages=HELLO)
        told = r"could not answer POST /v1/chat/completions m 'hello': .*\n  reply\('sunny'\), when='weather'\n  reply_models"
        with pytest.raises(AssertionError, match=told):
            server.check()
        server.check()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (lambda server: server.reply(lambda request: 1 / 0), "ZeroDivisionError"),
        (lambda server: server.reply("x", when=lambda request: 1 / 0), "ZeroDivisionError"),
        (lambda server: server.reply_embeddings([[1.0]]), r"vectors for 1 texts, but 2 are asked for"),
        (lambda server: server.reply_embeddings({"a": [1.0]}), r"no vector for 'b'"),
        (lambda server: server.reply_embeddings(), "makes up floats, but output_dtype is int8"),
    ],
)
def test_a_script_that_cannot_answer_is_told_too(script, told):
    with MistralServer() as server:
        script(server)
        client = server.client()
        with pytest.raises(InvalidRequestError):
            client.embeddings("m", ["a", "b"], output_dtype="int8") if "embeddings" in str(
                server._script
            ) else client.chat(model="m", messages=HELLO)
        with pytest.raises(AssertionError, match=told):
            server.check()


def test_a_stream_that_cannot_go_on_is_told_too():
    with MistralServer() as server:
        server.reply(["a", 1])
        with pytest.raises(StreamInterrupted) as caught:
            list(server.client().chat_stream(model="m", messages=HELLO))
        assert caught.value.text == "a"
        with pytest.raises(AssertionError, match="ValidationError"):
            server.check()


@pytest.mark.parametrize(
    "script",
    [
        lambda server: server.reply("x", cut_after=1, reset_after=1),
        lambda server: server.reply("x", cut_after=-1),
        lambda server: server.reply("x", cut_after="1"),
        lambda server: server.reply("x", delay=-1),
        lambda server: server.reply("x", pace=math.nan),
        lambda server: server.reply("x", times=0),
        lambda server: server.reply("x", cutafter=1),
        lambda server: server.reply("x", usage={"prompt_tokens": "many"}),
        lambda server: server.reply("x", usage={"completion_tokens": 1}),
        lambda server: server.reply(tool_calls=[{"arguments": "{}"}]),
        lambda server: server.reply(tool_calls=[{"function": 1}]),
        lambda server: server.fail(200),
        lambda server: server.fail(302, html="x"),
        lambda server: server.fail("stall"),
        lambda server: server.fail(429, retry_after=-1),
        lambda server: server.replay(),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_scripted(script):
    with MistralServer() as server:
        with pytest.raises(ArgumentError):
            script(server)
        assert str(server._script) == "  nothing"


def test_parsing_says_what_is_wrong(mistral_server):
    mistral_server.reply("x")
    httpx.post(f"{mistral_server.url}/v1/chat/completions", content=b"{")
    assert mistral_server.last.status == 422
    assert mistral_server.last.body == "{"
    assert (mistral_server.last.text, mistral_server.last.messages) == ("", [])
    with pytest.raises(ArgumentError):
        _ = mistral_server.last.parsed
    httpx.post(f"{mistral_server.url}/v1/chat/completions", json={"model": 1, "messages": [1, {"content": [2, {}]}]})
    assert (mistral_server.last.model, mistral_server.last.text) == (None, "")


def test_connections_are_kept_and_many(mistral_server):
    mistral_server.reply("x", delay=0.05)
    client = mistral_server.client()
    threads = [threading.Thread(target=client.chat, args=(HELLO, "m")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(5):
        client.chat(HELLO, "m")
    mistral_server.assert_called(25)
    assert len(mistral_server._listener._threads) <= 21  # one accepts


def test_a_body_that_waits_to_be_asked_for(mistral_server):
    """https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1"""
    import socket

    mistral_server.reply("x")
    body = json.dumps({"model": "m", "messages": HELLO}).encode()
    host, port = mistral_server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        said = b""
        while more := connection.recv(65536):
            said += more
    assert said.startswith(b"HTTP/1.1 200 ")


def test_nothing_is_left(mistral_server):
    before = threading.active_count()
    with MistralServer() as server:
        server.reply("x", delay=60)
        client = server.client(timeout=0.05, max_retries=0)
        with pytest.raises(TimeoutError):
            client.chat(HELLO, "m")
    server.close()
    assert threading.active_count() == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)
    with pytest.raises(RuntimeError, match="closed"):
        client.list_models()


def test_the_environment_leads_here(mistral_server):
    mistral_server.reply_models(["m"])
    with MistralClient() as client:
        assert client.list_models().data[0].id == "m"
