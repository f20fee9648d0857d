"""Chunks come together to the answer that they were cut from, however it was cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_client import AuthenticationError, ChatCompletionResponse, ChatMessage, StreamInterrupted, _calls
from mistral_client._chunks import ChunkDecoder
from mistral_client._sse import encode_event

from .conftest import HELLO, chunk, chunked_head, http
from .test_chunks import EVENTS, TEXT, USAGE, event
from .test_clients import KEY, STREAM
from .test_exchange import FakeResponse

CALL = _calls.chat_stream(HELLO, "m", {})


def assembled(*documents):
    decoder = ChunkDecoder(CALL, FakeResponse(), None)
    for document in documents:
        frame = {"id": "1", "object": "chat.completion.chunk", "created": 5, "model": "m"}
        list(decoder.feed(encode_event(json.dumps({**frame, **document}))))
    return decoder.answer.response()


def message_of(*deltas):
    """The message as the wire has it, of one choice's deltas."""
    answer = assembled(*({"choices": [{"index": 0, "delta": delta}]} for delta in deltas))
    return answer.choices[0].message.model_dump(exclude_unset=True, mode="json")


def calls_of(*pieces):
    """Names, arguments and ids of calls, of which each piece comes in a delta of its own."""
    calls = message_of(*({"tool_calls": [piece]} for piece in pieces))["tool_calls"]
    return [(call["function"]["name"], call["function"]["arguments"], call.get("id")) for call in calls]


# --- any answer, cut in any way ---

TEXTS = st.text(max_size=12)
LOGPROBS = st.lists(st.builds(lambda token: {"token": token, "logprob": -1.5}, TEXTS), max_size=4)


@st.composite
def wire_calls(draw):
    names = draw(st.lists(st.sampled_from(["f", "g", "get_weather"]), max_size=3))
    return [
        {
            "id": f"callid{index:03}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps({"a": draw(TEXTS)})},
            "index": index,
        }
        for index, name in enumerate(names)
    ]


@st.composite
def answers(draw):
    choices = []
    for index in range(draw(st.integers(1, 3))):
        calls = draw(wire_calls())
        message = {"role": "assistant", "content": draw(TEXTS)} | ({"tool_calls": calls} if calls else {})
        if draw(st.booleans()):
            message["reasoning_content"] = draw(TEXTS)
        choice = {"index": index, "message": message, "finish_reason": draw(st.sampled_from(["stop", "length", "x"]))}
        if tokens := draw(LOGPROBS):
            choice["logprobs"] = {"content": tokens}
        choices.append(choice)
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": choices,
        "usage": {"prompt_tokens": 4, "total_tokens": 6, "completion_tokens": 2, "x": [1]},
        "novelty": {"deep": True},
    }


@st.composite
def deltas_of(draw, choice):
    """The events of one choice, in the order of the wire."""

    def pieces(text):
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
        return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    message = choice["message"]
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in pieces(message.get("reasoning_content", ""))] * (
        "reasoning_content" in message
    )
    deltas += [{"content": piece} for piece in pieces(message["content"])]
    for call in message.get("tool_calls", ()):
        first, *more = pieces(call["function"]["arguments"])
        whole = {**call, "function": {**call["function"], "arguments": first}}
        # As OpenAI's server has it, as others repeat what they said, or with null for what a piece does not tell.
        rest = draw(
            st.sampled_from([{"index": call["index"]}, call, {"index": call["index"], "id": None, "type": "function"}])
        )
        name = {"name": call["function"]["name"]} if rest is call else {"name": None} if "id" in rest else {}
        deltas.append({"tool_calls": [whole]})
        deltas += [{"tool_calls": [{**rest, "function": {**name, "arguments": piece}}]} for piece in more]
    events = [{"index": choice["index"], "delta": delta, "finish_reason": None} for delta in deltas]
    tokens = choice.get("logprobs", {}).get("content", [])
    cut = draw(st.integers(0, len(tokens)))
    events[0] |= {"logprobs": {"content": tokens[:cut]} if cut else None}
    events[-1] |= {"logprobs": {"content": tokens[cut:]}} if tokens[cut:] else {}
    end = {"index": choice["index"], "delta": {"content": ""}, "finish_reason": choice["finish_reason"]}
    return [*events, end]


@st.composite
def streams(draw):
    """An answer, and the bytes of a stream of it."""
    answer = draw(answers())
    waiting = [draw(deltas_of(choice)) for choice in answer["choices"]]
    events = []
    while any(waiting):
        source = draw(st.sampled_from([one for one in waiting if one]))
        events.append([source.pop(0)])
    frame = {"id": "1", "object": "chat.completion.chunk", "created": 5, "model": "m"}
    documents = [{**frame, "choices": choices} for choices in events]
    draw(st.sampled_from(documents))["novelty"] = {"deep": True}
    documents.append({**frame, "choices": [], "usage": answer["usage"]})
    raw = b"".join(encode_event(json.dumps(document)) for document in documents) + encode_event("[DONE]")
    return answer, raw


@given(streams(), st.integers(1, 200))
@settings(deadline=None)
def test_any_answer_cut_in_any_way_comes_together_to_the_same(stream, size):
    answer, raw = stream
    decoder = ChunkDecoder(CALL, FakeResponse(), None)
    for begin in range(0, len(raw), size):
        list(decoder.feed(raw[begin : begin + size]))
    assert decoder.done
    whole = decoder.answer.response()
    assert whole == ChatCompletionResponse.model_validate(answer)
    assert whole.model_dump(mode="json", exclude_unset=True) == answer
    assert decoder.answer.text == answer["choices"][0]["message"]["content"]


# --- the ways of servers ---


def test_calls_that_come_whole():
    one = {"id": "aaaaaaaaa", "function": {"name": "f", "arguments": '{"a": 1}'}, "index": 0}
    other = {"id": "bbbbbbbbb", "function": {"name": "f", "arguments": '{"a": 2}'}, "index": 1}
    assert message_of({"tool_calls": [one, other]})["tool_calls"] == [one, other]
    for change in ({"index": 0}, {"index": None}):
        assert calls_of(one | change, other | change) == [
            ("f", '{"a": 1}', "aaaaaaaaa"),
            ("f", '{"a": 2}', "bbbbbbbbb"),
        ], change


def test_calls_without_an_id():
    bare = {"function": {"name": "f", "arguments": "{}"}}
    assert calls_of(bare, bare) == [("f", "{}", None)] * 2
    pieces = [{"index": 0, "function": {"name": "f"}}, {"index": 0, "function": {"arguments": "{}"}}]
    assert calls_of(*pieces) == [("f", "{}", None)]
    other = {"index": 0, "function": {"name": "g", "arguments": "{}"}}
    assert calls_of({"index": 0, **bare}, other) == [("f", "{}", None), ("g", "{}", None)]


def test_pieces_without_an_index_go_on_with_the_last_call():
    first = {"id": "aaaaaaaaa", "function": {"name": "f", "arguments": ""}}
    more = [{"function": {"arguments": piece}} for piece in ('{"a"', ": 1}")]
    assert calls_of(first, *more) == [("f", '{"a": 1}', "aaaaaaaaa")]
    assert calls_of(first, *({"id": "aaaaaaaaa", **piece} for piece in more)) == [("f", '{"a": 1}', "aaaaaaaaa")]


def test_a_name_in_pieces_and_an_id_that_comes_late():
    pieces = [
        {"index": 0, "function": {"name": "get_"}},
        {"index": 0, "id": "aaaaaaaaa", "function": {"name": "weather", "arguments": "{"}},
        {"index": 0, "function": {"arguments": "}"}},
    ]
    assert calls_of(*pieces) == [("get_weather", "{}", "aaaaaaaaa")]


def test_arguments_that_come_as_an_object():
    pieces = [
        {"index": 0, "id": "aaaaaaaaa", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": {"a": 1}}, "signature": "s"},
    ]
    assert calls_of(*pieces) == [("f", {"a": 1}, "aaaaaaaaa")]
    assert message_of({"tool_calls": pieces})["tool_calls"][0]["signature"] == "s"


def test_calls_are_in_the_order_in_which_they_began():
    pieces = [
        {"index": 1, "id": "bbbbbbbbb", "function": {"name": "g", "arguments": "{"}},
        {"index": 0, "id": "aaaaaaaaa", "function": {"name": "f", "arguments": "{"}},
        {"index": 1, "function": {"arguments": "}"}},
        {"index": 0, "function": {"arguments": "}"}},
    ]
    assert calls_of(*pieces) == [("g", "{}", "bbbbbbbbb"), ("f", "{}", "aaaaaaaaa")]


def test_thoughts_and_texts_are_joined_where_they_follow_each_other():
    def thinks(text, **more):
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}], **more}]}

    image = {"type": "image_url", "image_url": "data:,"}
    reference = {"type": "reference", "reference_ids": [1]}
    link = {"type": "thinking", "thinking": [{"type": "tool_reference", "tool": "t"}]}
    content = message_of(
        *({"role": "assistant", "content": ""}, thinks("Let "), thinks("me see", closed=True), {"content": [link]}),
        *({"content": "The "}, {"content": [{"type": "text", "text": "answer"}]}, {"content": ""}),
        *({"content": [image, image, reference]}, {"content": "."}),
    )["content"]
    assert content == [
        {
            "type": "thinking",
            "thinking": [{"type": "text", "text": "Let me see"}, {"type": "tool_reference", "tool": "t"}],
        },
        {"type": "text", "text": "The answer"},
        *(image, image, reference),
        {"type": "text", "text": "."},
    ]


def test_the_text_of_chunks_counts_and_thoughts_do_not():
    decoder = ChunkDecoder(CALL, FakeResponse(), None)
    list(decoder.feed(event({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}]})))
    list(decoder.feed(event({"content": "b"})))
    with pytest.raises(StreamInterrupted) as raised:
        decoder.end()
    assert raised.value.text == "ab"


def test_an_answer_of_calls_alone_has_no_content():
    piece = {"id": "aaaaaaaaa", "function": {"name": "f", "arguments": "{}"}, "index": 0}
    assert message_of({"tool_calls": [piece]}) == {"role": "assistant", "content": None, "tool_calls": [piece]}


def test_what_nobody_here_knows():
    answer = assembled(
        {"choices": [{"index": 0, "delta": {"reasoning": "I ", "n": 1, "items": [1]}, "token_ids": [1], "why": None}]},
        {"choices": [{"index": 0, "delta": {"reasoning": None, "n": 2, "items": [2]}, "token_ids": [2], "why": "a"}]},
        {"choices": [{"index": 0, "delta": {"reasoning": "am", "prefix": "x"}, "message": "x", "why": "a"}], "p": "ab"},
        {"choices": [{"index": 0, "delta": {"none": None}}], "p": "c", "sequence_number": 9},
    )
    (choice,) = answer.choices
    assert choice.message.model_extra == {"reasoning": "I am", "n": 2, "items": [1, 2], "none": None}
    assert choice.model_extra == {"token_ids": [1, 2], "why": "a"}
    assert answer.model_extra == {"p": "c", "sequence_number": 9}


def test_what_the_server_does_not_say():
    decoder = ChunkDecoder(CALL, FakeResponse(), None)
    list(decoder.feed(event({"content": "a"}, "stop")))
    answer = decoder.answer.response()
    assert (answer.object, answer.created, answer.usage.total_tokens) == ("chat.completion", 0, 0)
    assert (answer.choices[0].message.role, decoder.answer.usage) == ("assistant", None)
    assert isinstance(answer.choices[0].message, ChatMessage)


# --- the streams of the clients ---


def test_the_whole_text_and_the_whole_answer(make_client, raw_server):
    client = make_client(KEY, raw_server([*STREAM, None]).url)
    for begin in (0, 1, 2, 4, 5):
        stream = client.chat_stream(HELLO, "m")
        assert (stream.usage, stream.response_headers) == (None, None)
        seen = [part for _, part in zip(range(begin), stream, strict=False)]
        assert len(seen) == min(begin, 4)
        assert stream.text() == TEXT
        assert stream.usage.model_dump() == USAGE
        assert stream.response_headers["content-type"].startswith("text/event-stream")
        answer = stream.final_response()
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (TEXT, "stop")
        assert (answer.id, answer.model, answer.usage) == ("1", "m", stream.usage)
        assert list(stream) == []
        assert (stream.text(), stream.final_response()) == (TEXT, answer)


def test_a_key_that_the_server_sends_back_in_a_header_is_masked(make_client, raw_server):
    head = chunked_head().replace(b"\r\n\r\n", f"\r\nx-echo: Bearer {KEY}\r\n\r\n".encode())
    with make_client(KEY, raw_server([head, *STREAM[1:]]).url).chat_stream(HELLO, "m") as stream:
        assert stream.response_headers["x-echo"] == "Bearer ***"


def test_a_completion_comes_together_too(make_client, raw_server):
    client = make_client(KEY, raw_server(STREAM).url)
    assert client.completion_stream("codestral", "def f(").final_response().choices[0].message.content == TEXT


def test_a_stream_that_fails_raises_the_same_each_time(make_client, raw_server):
    server = raw_server([chunked_head(), *map(chunk, EVENTS[:2])])
    stream = make_client(KEY, server.url).chat_stream(HELLO, "m")
    for read in (stream.text, stream.final_response, stream.text):
        with pytest.raises(StreamInterrupted, match="broke") as raised:
            read()
        assert (raised.value.text, raised.value.attempts, raised.value.http_status) == ("Camem", 1, 200)
        assert raised.value.host == server.url.removeprefix("http://")
    assert list(stream) == []


def test_a_stream_that_cannot_begin_raises_the_same_each_time(make_client, raw_server):
    server = raw_server([http(b'{"detail":"Unauthorized"}', "401 Unauthorized")])
    stream = make_client(KEY, server.url).chat_stream(HELLO, "m")
    for read in (stream.text, stream.final_response):
        with pytest.raises(AuthenticationError, match="Unauthorized"):
            read()
    assert (stream.usage, len(server.requests)) == (None, 1)


def test_a_stream_that_was_left_early_has_no_whole_answer(make_client, raw_server):
    client = make_client(KEY, raw_server(STREAM).url)
    with client.chat_stream(HELLO, "m") as stream:
        next(stream), next(stream)
    for read in (stream.text, stream.final_response):
        with pytest.raises(StreamInterrupted, match="closed before its end") as raised:
            read()
        assert raised.value.text == "Camem"
    never = client.chat_stream(HELLO, "m")
    never.close()
    with pytest.raises(StreamInterrupted, match="closed before its end"):
        never.text()
