"""A recorded stream, whole and broken in every way, as typed chunks."""

from __future__ import annotations

import json

import pytest

from mistral_client import ProtocolError, ServerError, StreamInterrupted
from mistral_client._chunks import ChunkDecoder
from mistral_client._sse import encode_comment, encode_event

from .test_exchange import STREAM, FakeResponse

LIMIT = 1024 * 1024
USAGE = {"prompt_tokens": 3, "total_tokens": 6, "completion_tokens": 3}


def event(delta, finish_reason=None, *, index=0, **more):
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return encode_event(json.dumps({"id": "1", "model": "m", "choices": [choice], **more}))


EVENTS = [
    event({"role": "assistant", "content": ""}),
    event({"content": "Camem"}),
    encode_comment("still reading"),
    event({"content": "bert \u2028 é"}),
    event({"content": ""}, "stop", usage=USAGE),
    encode_event("[DONE]"),
]
TEXT = "Camembert \u2028 é"


def decode(*pieces):
    decoder = ChunkDecoder(STREAM, FakeResponse(headers={"content-type": "text/event-stream"}), LIMIT)
    text = ""
    for piece in pieces:
        for chunk in decoder.feed(piece):
            text += chunk.choices[0].delta.content or ""
    decoder.end()
    return text


def test_a_whole_stream():
    assert decode(*EVENTS) == TEXT
    assert decode(b"".join(EVENTS)) == TEXT


def test_a_stream_cut_anywhere_is_an_error_that_holds_the_text_so_far():
    raw = b"".join(EVENTS)
    done = raw.index(b"[DONE]") + len(b"[DONE]\n\n")
    for cut in range(done):
        seen = []
        decoder = ChunkDecoder(STREAM, FakeResponse(), LIMIT)
        seen = [chunk.choices[0].delta.content for chunk in decoder.feed(raw[:cut])]
        with pytest.raises(StreamInterrupted) as raised:
            decoder.end()
        assert raised.value.text == "".join(seen)
        finished = cut >= raw.index(b"data: [DONE]")
        assert raised.value.finish_reason == ("stop" if finished else None)
        assert raised.value.usage == (USAGE if finished else None)


def test_what_follows_done_is_ignored():
    assert decode(*EVENTS, event({"content": "never"}), b"\xff\xff") == TEXT
    assert decode(b"".join([*EVENTS, event({"content": "never"})])) == TEXT


@pytest.mark.parametrize("early", [[], EVENTS[:2]], ids=["nothing", "half an answer"])
def test_done_without_a_finish_reason_is_an_interruption(early):
    with pytest.raises(StreamInterrupted, match="no finish reason"):
        decode(*early, EVENTS[-1])


def test_every_answer_must_finish():
    two = [event({"content": "a"}), event({"content": "b"}, index=1), event({}, "stop")]
    with pytest.raises(StreamInterrupted, match="no finish reason"):
        decode(*two, EVENTS[-1])
    assert decode(*two, event({}, "stop", index=1), EVENTS[-1]) == "ab"


def test_almost_done_is_not_done():
    with pytest.raises(ProtocolError):
        decode(*EVENTS[:-1], encode_event("[DONE]x"))


ERRORS = [
    encode_event('{"error": {"message": "overloaded", "code": "3505"}}'),
    encode_event('{"object": "error", "message": "overloaded", "code": "3505"}'),
    encode_event('{"object": "error", "message": "overloaded", "code": "3505"}', "error"),
    encode_event("overloaded", "error"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_in_mid_stream_have_the_servers_words(error):
    with pytest.raises(ServerError) as raised:
        decode(EVENTS[0], error)
    assert raised.value.message == "overloaded"


@pytest.mark.parametrize("data", ['{"id": "1", "choi', "null", "[]", '{"id": "1"}', "hello"])
def test_an_event_that_is_no_chunk(data):
    with pytest.raises(ProtocolError, match="an event that is no chunk"):
        decode(EVENTS[0], encode_event(data))


def test_an_endless_event_is_given_up():
    with pytest.raises(ProtocolError, match="more than"):
        decode(*[b"x" * 1024] * 1025)


def test_other_kinds_of_chunk_pass():
    thinking = {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}
    chunks = list(ChunkDecoder(STREAM, FakeResponse(), LIMIT).feed(event(thinking, "stop", novelty=[1])))
    assert chunks[0].choices[0].delta.content[0].type == "thinking"
    assert chunks[0].novelty == [1]
    usage_only = encode_event(json.dumps({"id": "1", "model": "m", "choices": [], "usage": USAGE}))
    assert next(ChunkDecoder(STREAM, FakeResponse(), LIMIT).feed(usage_only)).usage.total_tokens == 6
