from __future__ import annotations

import json
import math
import pickle

import pytest

from mistral_client import ArgumentError, ChatCompletionRequest, ChatMessage, Function, ResponseFormat, Tool, _calls
from mistral_client._calls import CallOptions, ChatOptions, EmbeddingOptions, FIMOptions
from mistral_client.models.embeddings import EmbeddingRequest
from mistral_client.models.fim import FIMCompletionRequest

from .conftest import HELLO


def body(call):
    return json.loads(call.body)


@pytest.mark.parametrize("messages", [HELLO, tuple(HELLO), iter(HELLO), [ChatMessage(role="user", content="hello")]])
def test_messages_are_objects_or_dicts_in_any_iterable(messages):
    assert body(_calls.chat(messages, "m", {})) == {"model": "m", "messages": HELLO}


def test_both_positional_orders():
    assert _calls.chat("m", HELLO, {}) == _calls.chat(HELLO, "m", {})
    assert _calls.chat_stream("m", HELLO, {}) == _calls.chat_stream(HELLO, "m", {})


def test_only_what_was_given_goes_on_the_wire():
    call = _calls.chat(HELLO, "m", {"temperature": 0.0, "top_p": None, "stop": ["a"], "random_seed": 7})
    assert body(call) == {"model": "m", "messages": HELLO, "temperature": 0.0, "stop": ["a"], "random_seed": 7}
    assert body(_calls.chat_stream(HELLO, "m", {}))["stream"] is True


@pytest.mark.parametrize(
    "options", [{"safe_mode": True}, {"safe_prompt": True}, {"safe_mode": True, "safe_prompt": False}]
)
def test_safe_mode_is_the_first_name_of_safe_prompt(options):
    assert body(_calls.chat(HELLO, "m", options))["safe_prompt"] is True


def test_safe_mode_off_is_not_sent():
    assert "safe_mode" not in body(_calls.chat(HELLO, "m", {"safe_mode": False}))


def test_typed_arguments():
    tool = Tool(function=Function(name="f", parameters={"default": None}))
    options = {
        "tools": [tool],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": ResponseFormat(
            type="json_schema", json_schema={"name": "n", "schema_definition": {"a": None}}
        ),
    }
    sent = body(_calls.chat(HELLO, "m", options))
    assert sent["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {"default": None}}}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert sent["response_format"] == {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": None}}}


def test_what_a_server_sent_goes_back_unchanged():
    received = {
        "role": "assistant",
        "content": [{"type": "novelty", "depth": {"a": None}}, {"type": "text", "text": "é", "extra": None}],
        "tool_calls": [{"id": "abcdefghi", "function": {"name": "f", "arguments": '{"a": 1}'}, "index": 0}],
        "refusal": None,
    }
    message = ChatMessage.model_validate_json(json.dumps(received))
    assert body(_calls.chat([message, *HELLO], "m", {}))["messages"][0] == received


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": {"role": "user"}}, "messages"),
        ({"messages": 7}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role 'robot'"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "system"}]}, "system message must have content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "JSON"),
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 1.6}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_p": math.inf}, "top_p"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"random_seed": -1}, "random_seed"),
        ({"n": 0}, "n"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"metadata": {"deep": [{"x": math.nan}]}}, "metadata"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}] * 129}, "tools"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "json_schema"),
        ({"temprature": 1}, "temprature"),
        ({"stream": True}, "stream"),
        ({"extra_body": {"x": math.nan}}, "JSON"),
        ({"extra_body": {"x": object()}}, "JSON"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
    ],
)
def test_a_bad_argument_is_named_and_nothing_is_shown_of_the_prompt(arguments, named):
    arguments = {"messages": [{"role": "user", "content": "secret"}], "model": "m", **arguments}
    messages, model = arguments.pop("messages"), arguments.pop("model")
    with pytest.raises(ArgumentError) as raised:
        _calls.chat(messages, model, arguments)
    assert named in str(raised.value)
    assert isinstance(raised.value, ValueError)
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_many_wrong_arguments_are_counted():
    with pytest.raises(ArgumentError, match="and 32 more"):
        _calls.chat([{"role": "user", "content": 7}] * 20, "m", {})


def test_extra_body_carries_what_the_api_does_not_know():
    call = _calls.chat(HELLO, "m", {"extra_body": {"guided_choice": ["é"], "model": "other"}, "top_p": 0.5})
    assert body(call) == {"model": "other", "messages": HELLO, "guided_choice": ["é"], "top_p": 0.5}


def test_options_of_a_call():
    call = _calls.chat(
        HELLO, "m", {"timeout": 3, "deadline": 9, "max_retries": 1, "extra_headers": {"X-Team": "cheese"}}
    )
    assert (call.timeout, call.deadline, call.max_retries) == (3, 9, 1)
    assert call.request("key").headers == {
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "Content-Type": "application/json",
        "Idempotency-Key": "key",
        "X-Team": "cheese",
    }


def test_a_stream_is_not_to_be_compressed():
    headers = _calls.chat_stream(HELLO, "m", {}).request("key").headers
    assert (headers["Accept"], headers["Accept-Encoding"]) == ("text/event-stream", "identity")


def test_no_option_is_passed_over():
    with pytest.raises(ArgumentError, match="has no body"):
        _calls.list_models({"extra_body": {"a": 1}})
    for name in ("timeout", "deadline"):
        with pytest.raises(ArgumentError, match=f"{name}: 0 is not"):
            _calls.list_models({name: 0})


def test_a_call_without_a_body():
    call = _calls.list_models({})
    assert call.request("key").headers == {"Accept": "application/json", "Accept-Encoding": "gzip"}
    assert call.request("key").content is None


@pytest.mark.parametrize("given", ["one", ["one", "two"], ("one", "two"), (text for text in ["one", "two"])])
def test_embeddings(given):
    sent = body(_calls.embeddings("m", given, {"encoding_format": "float"}))
    assert sent["input"] in ("one", ["one", "two"])
    assert sent["encoding_format"] == "float"


@pytest.mark.parametrize("given", [7, [7], None])
def test_embeddings_of_what_is_no_text(given):
    with pytest.raises(ArgumentError, match="input"):
        _calls.embeddings("m", given, {})


def test_the_prompt_is_in_no_repr():
    call = _calls.chat([{"role": "user", "content": "secret"}], "m", {})
    assert "secret" not in repr(call) + repr(call.request("key"))
    assert pickle.loads(pickle.dumps(call)) == call


def test_options_are_the_fields_of_the_request():
    """The keyword arguments are written down for the type checker; the request is the truth."""
    transport = set(CallOptions.__annotations__)
    chat = set(ChatOptions.__optional_keys__) - transport
    assert chat == (set(ChatCompletionRequest.model_fields) - {"model", "messages", "stream"}) | {"safe_mode"}
    embeddings = set(EmbeddingOptions.__optional_keys__) - transport
    assert embeddings == set(EmbeddingRequest.model_fields) - {"model", "input"}
    fim = set(FIMOptions.__optional_keys__) - transport
    assert fim == set(FIMCompletionRequest.model_fields) - {"model", "prompt", "suffix", "stream"}


def test_completion():
    call = _calls.completion("m", "def f(", None, {"temperature": 0.0, "stop": "x", "top_p": None})
    assert (call.method, call.path, call.streamed) == ("POST", "/v1/fim/completions", False)
    assert body(call) == {"model": "m", "prompt": "def f(", "temperature": 0.0, "stop": "x"}
    streamed = _calls.completion_stream("m", "a", "b", {"max_tokens": 3, "timeout": 2})
    assert (streamed.path, streamed.streamed, streamed.timeout) == ("/v1/fim/completions", True, 2)
    assert body(streamed) == {"model": "m", "prompt": "a", "suffix": "b", "max_tokens": 3, "stream": True}


@pytest.mark.parametrize(
    ("own", "options", "named"),
    [
        (("m", None, None), {}, "prompt"),
        (("m", ["a"], None), {}, "prompt"),
        ((None, "a", None), {}, "model"),
        (("m", "a", 7), {}, "suffix"),
        (("m", "a", None), {"temperature": 1.6}, "temperature"),
        (("m", "a", None), {"max_tokens": -1}, "max_tokens"),
        (("m", "a", None), {"random_seed": 2**63}, "random_seed"),
        (("m", "a", None), {"tools": []}, "tools"),
        (("m", "a", None), {"stream": True}, "completion_stream"),
    ],
)
def test_a_bad_argument_of_completion_is_named(own, options, named):
    for call in (_calls.completion, _calls.completion_stream):
        with pytest.raises(ArgumentError, match=named):
            call(*own, options)


@pytest.mark.parametrize(
    ("model_id", "path"),
    [
        ("mistral-small", "mistral-small"),
        ("ft:open-mistral-7b:587a6b29:20240514:7e773925", "ft%3Aopen-mistral-7b%3A587a6b29%3A20240514%3A7e773925"),
        ("a/b", "a%2Fb"),
        ("a/../b", "a%2F..%2Fb"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("v0.1", "v0.1"),
        ("%2e", "%252e"),
        ("a?b#c", "a%3Fb%23c"),
        ("é \n", "%C3%A9%20%0A"),
    ],
)
def test_the_name_of_a_model_is_one_step_of_the_path(model_id, path):
    for call, method in ((_calls.retrieve_model, "GET"), (_calls.delete_model, "DELETE")):
        assert (call(model_id, {}).method, call(model_id, {}).path) == (method, f"/v1/models/{path}")


@pytest.mark.parametrize("model_id", ["", None, 7, "\ud800"])
def test_what_is_no_name_of_a_model(model_id):
    for call in (_calls.retrieve_model, _calls.delete_model):
        with pytest.raises(ArgumentError, match="model_id"):
            call(model_id, {})


def test_a_deletion_that_is_tried_again_is_the_same_deletion():
    assert _calls.delete_model("m", {}).request("key").headers["Idempotency-Key"] == "key"
    with pytest.raises(ArgumentError, match="a DELETE request has no body"):
        _calls.delete_model("m", {"extra_body": {"a": 1}})
