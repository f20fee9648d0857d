"""Tokens are counted as mistral-common and the reference server lay a prompt out."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("mistral_common")
pytest.importorskip("sentencepiece")

from mistral_common.protocol.instruct.request import ChatCompletionRequest as TheirRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from mistral_client import ArgumentError, ChatMessage, ConfigurationError, check_context, count_tokens, tokens
from mistral_client.server import cards
from mistral_client.server.conversation import turns_of
from mistral_client.server.prompt import InstructV1, InstructV3, ToolSpec

VERSIONS = ["v1", "v2", "v3", "v3-tekken"]


@cache
def theirs(version):
    name, _, tekken = version.partition("-")
    return getattr(MistralTokenizer, name)(**({"is_tekken": True} if tekken else {}))


@cache
def pieces(version):
    return theirs(version).instruct_tokenizer.tokenizer._model


def counted_by_the_server(version, messages, tools=()):
    """The length of the prompt that the reference server gives a model with this vocabulary."""
    vocabulary = pieces(version)
    form = InstructV1(1, 2) if version == "v1" else InstructV3.of(vocabulary.piece_to_id)
    specs = [ToolSpec(**{"description": "", **tool["function"]}) for tool in tools]
    parts = form.parts(turns_of([ChatMessage.model_validate(message) for message in messages]), specs)
    return sum(1 if isinstance(part, int) else len(vocabulary.encode(part)) for part in parts)


def said(role, content, **more):
    return {"role": role, "content": content, **more}


SPECIMEN = [said("system", "SYS"), said("user", "u1"), said("assistant", "a1 "), said("user", "u2")]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The wëather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "pcZFHqej8", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
CALLED = [
    said("user", "How is the weather in Paris?"),
    said("assistant", None, tool_calls=[CALL]),
    said("tool", '{"degrees": 22}', tool_call_id="pcZFHqej8", name="weather"),
]


@pytest.mark.parametrize(
    ("messages", "version", "count"),
    [
        # 1 733 16289 28793 17121 28735 13 13 28718 28740 733 28748 16289 28793 264 28740 28705 2
        # 733 16289 28793 332 28750 733 28748 16289 28793
        (SPECIMEN, "v1", 27),
        # <s> [INST] _u 1 [/INST] _a 1 </s> [INST] _S YS \n \n u 2 [/INST]
        (SPECIMEN, "v3", 16),
        # <s> _[ INST ] _Hello _[ / INST ]
        ([said("user", "Hello")], "v1", 9),
        # <s> [INST] _Hello [/INST]
        ([said("user", "Hello")], "v2", 4),
        ([said("user", "Hello")], "v3", 4),
        ([said("user", "Hello")], "v3-tekken", 4),
        ("Hello world", "v1", 2),
        ("", "v3", 0),
        ("🦆", "v1", 5),  # a space, and a token for each byte
    ],
)
def test_known_counts(messages, version, count):
    assert count_tokens(messages, version=version) == count


def theirs_of(message):
    return {name: value for name, value in message.items() if value is not None}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tools", [[], [WEATHER]], ids=["no tools", "tools"])
@pytest.mark.parametrize("messages", [SPECIMEN, CALLED, [*CALLED, said("assistant", "22 degrees."), *SPECIMEN[1:]]])
def test_it_counts_what_mistral_common_encodes(version, tools, messages):
    if version == "v1" and (tools or messages is not SPECIMEN):
        with pytest.raises(ArgumentError, match="no place for tools"):
            count_tokens(messages, version=version, tools=tools)
        return
    request = TheirRequest.model_validate({"messages": [*map(theirs_of, messages)], "tools": tools or None})
    expected = theirs(version).encode_chat_completion(request).tokens
    assert count_tokens(messages, version=version, tools=tools) == len(expected)


@pytest.mark.parametrize("tools", [[], [WEATHER]], ids=["no tools", "tools"])
def test_tools_as_the_server_lays_them_out(tools):
    assert count_tokens(CALLED, version="v3", tools=tools) == counted_by_the_server("v3", CALLED, tools)


TEXTS = st.text(max_size=40).filter(lambda text: text.strip())
MIDDLE = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=6)


@pytest.mark.parametrize("version", ["v1", "v3"])
@settings(max_examples=100, deadline=None)
@given(middle=MIDDLE, last=TEXTS, prefix=st.none() | TEXTS)
def test_it_counts_what_the_server_makes_of_any_conversation(version, middle, last, prefix):
    roles = [role for role, _ in middle]
    messages = [
        said("user" if role == "system" and before == "assistant" else role, text)  # which the server refuses
        for before, (role, text) in zip(["system", *roles], middle, strict=False)
    ]
    messages.append(said("user", last))
    if prefix is not None:
        messages.append(said("assistant", prefix, prefix=True))
    assert count_tokens(messages, version=version) == counted_by_the_server(version, messages)


def test_messages_in_any_form():
    dicts = count_tokens(SPECIMEN, "open-mistral-7b")
    assert count_tokens(map(ChatMessage.model_validate, SPECIMEN), "open-mistral-7b") == dicts
    in_chunks = said("user", [{"type": "text", "text": "How is "}, {"type": "text", "text": "the weather in Paris?"}])
    assert count_tokens([in_chunks], version="v3") == count_tokens(CALLED[:1], version="v3")
    as_object = {**CALL, "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    calls = [CALLED[0], said("assistant", None, tool_calls=[as_object])]
    assert count_tokens(calls, version="v3") == count_tokens(CALLED[:2], version="v3")


def test_models_have_their_tokenizers():
    for model, known in tokens._MODELS.items():
        assert count_tokens(SPECIMEN, model) == count_tokens(SPECIMEN, version=known.version)
    assert count_tokens(SPECIMEN, "open-mixtral-8x7b") == 27
    assert count_tokens(SPECIMEN, "open-mixtral-8x22b") == 16
    assert count_tokens(SPECIMEN, "my-own", version="v1") == 27


def test_a_name_that_means_a_latest_model_is_not_known():
    latest = [name for name in cards.ALIASES if name.endswith("-latest")]
    assert latest
    for name in latest:
        with pytest.raises(ArgumentError, match="not known here"):
            count_tokens(SPECIMEN, name)


@pytest.mark.parametrize(
    ("messages", "arguments", "named"),
    [
        (SPECIMEN, {}, "None"),
        (SPECIMEN, {"model": "gpt"}, "'gpt'.*open-mixtral-8x7b"),
        (SPECIMEN, {"version": "v9"}, "v9"),
        (None, {"version": "v3"}, "messages"),
        ([], {"version": "v3"}, "messages"),
        ([said("nobody", "x")], {"version": "v3"}, "messages.0: role 'nobody'"),
        ([said("user", [{"type": "image_url", "image_url": "x"}])], {"version": "v3"}, "messages.0.*image_url"),
        ([said("assistant", None)], {"version": "v3"}, "messages.0.*either"),
        ([said("assistant", "secret", tool_calls=[CALL])], {"version": "v3"}, "messages.0.*either"),
        ([said("tool", "22")], {"version": "v3"}, "tool call id"),
        ([said("user", "\ud800")], {"version": "v3"}, "messages.0: surrogates"),
        ("\ud800", {"version": "v3"}, "messages: surrogates"),
        (SPECIMEN, {"version": "v3", "tools": "x"}, "tools"),
        (SPECIMEN, {"version": "v3", "tools": [{"name": "x"}]}, "tools.0"),
    ],
)
def test_what_cannot_be_counted_is_said(messages, arguments, named):
    with pytest.raises(ArgumentError, match=named) as raised:
        count_tokens(messages, **arguments)
    assert "secret" not in str(raised.value)


def test_without_mistral_common(monkeypatch):
    tokens._tokenizer.cache_clear()
    monkeypatch.setitem(sys.modules, "mistral_common.tokens.tokenizers.mistral", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'mistral-client\[tokens\]'"):
        count_tokens(SPECIMEN, "open-mistral-7b")


def test_context():
    assert check_context(SPECIMEN, "open-mixtral-8x7b", max_tokens=1000) == 27
    assert check_context(SPECIMEN, "open-mixtral-8x7b", max_tokens=32_768 - 27) == 27
    with pytest.raises(ArgumentError, match=r"27 tokens and the answer may have 32742, .* open-mixtral-8x7b has 32768"):
        check_context(SPECIMEN, "open-mixtral-8x7b", max_tokens=32_768 - 26)
    assert check_context(" ".join(["word"] * 8192), "mistral-embed") == 8192
    with pytest.raises(ArgumentError, match="8193 tokens, but the context of mistral-embed has 8192"):
        check_context(" ".join(["word"] * 8193), "mistral-embed")


def test_the_context_of_another_model():
    with pytest.raises(ArgumentError, match="give context="):
        check_context(SPECIMEN, "my-own", version="v1")
    assert check_context(SPECIMEN, "my-own", version="v1", context=27) == 27
    with pytest.raises(ArgumentError, match="27 tokens, but the context of the model has 26"):
        check_context(SPECIMEN, version="v1", context=26)


OFFLINE = """
import socket
def refuse(*_):
    raise AssertionError("it wants the network")
socket.socket.connect = socket.getaddrinfo = refuse
import sys
from mistral_client import count_tokens
assert "mistral_common" not in sys.modules
for version in ("v1", "v2", "v3", "v3-tekken"):
    print(count_tokens([{"role": "user", "content": "Hello"}], version=version))
"""


def test_it_works_offline():
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split() == ["9", "4", "4", "4"]
