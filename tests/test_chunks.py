"""A recorded stream, whole and broken in every way, as typed chunks."""

from __future__ import annotations

import gzip
import json

import pytest

from mistral_client import (
    MistralConnectionException,
    ProtocolError,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
    StreamTimeout,
)
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
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
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


@pytest.mark.parametrize("name", ["content-length", "transfer-encoding"])
def test_without_done_a_finished_answer_is_whole_where_http_tells_its_end(name):
    decoder = ChunkDecoder(STREAM, FakeResponse(headers={name: "told"}), LIMIT)
    list(decoder.feed(b"".join(EVENTS[:-2])))
    with pytest.raises(StreamInterrupted):
        decoder.end()
    list(decoder.feed(b"".join([EVENTS[-2], event({"content": "b"}, index=1)])))
    with pytest.raises(StreamInterrupted):
        decoder.end()
    list(decoder.feed(event({}, "stop", index=1)))
    decoder.end()


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
        decode(*EVENTS[:2], error)
    assert (raised.value.message, raised.value.http_status, raised.value.text) == ("overloaded", 500, "Camem")


@pytest.mark.parametrize("data", ['{"id": "1", "choi', "null", "[]", '{"id": "1"}', "hello"])
def test_an_event_that_is_no_chunk(data):
    with pytest.raises(ProtocolError, match="an event that is no chunk"):
        decode(EVENTS[0], encode_event(data))


def test_an_endless_event_is_given_up():
    with pytest.raises(ProtocolError, match="more than"):
        decode(*[b"x" * 1024] * 1025)


def numbered(number, content, **more):
    return b"id: %s\n" % str(number).encode() + event({"content": content}, **more)


OUT_OF_ORDER = {
    "text after the end": [event({"content": "a"}), event({}, "stop"), event({"content": "b"})],
    "two ends": [event({"content": "a"}), event({}, "stop"), event({}, "stop")],
    "an event again": [numbered(0, "a"), numbered(1, ""), numbered(1, "")],
    "an event too late": [numbered(7, ""), numbered(9, "a"), numbered(8, "")],
    "a counted chunk again": [event({"content": "a"}, sequence_number=1), *[event({}, sequence_number=2)] * 2],
    "a number that is none": [event({"content": "a"}, "stop", sequence_number="1"), event({}, "stop")],
}


@pytest.mark.parametrize("events", OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
def test_what_comes_twice_or_too_late_is_an_error(events):
    with pytest.raises(ProtocolError, match=r"out of order: (choice 0 goes on|event \d came after event \d)") as raised:
        decode(*events)
    assert raised.value.text == "a"


@pytest.mark.parametrize("numbers", [(0, 0, 0), ("a", "b", "a"), (3, 4, 9), (5, 4, 3), ("", 1, ""), (1, "²", 2)])
def test_numbers_that_do_not_count_mean_nothing(numbers):
    events = [numbered(number, "ha") for number in numbers]
    assert decode(*events, event({}, "stop"), EVENTS[-1]) == "hahaha"


def test_what_says_nothing_may_follow_the_end():
    usage = encode_event(json.dumps({"id": "1", "model": "m", "choices": [], "usage": USAGE}))
    assert decode(event({"content": "a"}, "stop"), event({}), event({"content": ""}), usage, EVENTS[-1]) == "a"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(RequestTimeout("silent"), StreamTimeout), (MistralConnectionException("reset"), StreamInterrupted)],
)
def test_a_failure_below_keeps_what_had_come(failure, kind):
    failure.__cause__ = OSError("below")
    decoder = ChunkDecoder(STREAM, FakeResponse(headers={"a": "b"}), LIMIT)
    list(decoder.feed(EVENTS[0]))
    assert (decoder.answer.begun, decoder.broken_by(failure).retryable) == (False, True)
    list(decoder.feed(b"".join(EVENTS[1:-1])))
    error = decoder.broken_by(failure)
    assert type(error) is kind
    assert (error.text, error.finish_reason, error.usage, error.retryable) == (TEXT, "stop", USAGE, False)
    assert (error.message, error.__cause__, error.headers) == (failure.message, failure.__cause__, {"a": "b"})


def test_interruptions_say_why():
    decoder = ChunkDecoder(STREAM, FakeResponse(), LIMIT)
    assert (decoder.answer.begun, decoder.done) == (False, False)
    with pytest.raises(StreamInterrupted) as raised:
        decoder.end()
    assert (raised.value.message, raised.value.http_status) == ("the event stream ended before [DONE]", 200)
    with pytest.raises(StreamInterrupted) as raised:
        decode(EVENTS[-1])
    assert raised.value.message == "the event stream is done, but the answer has no finish reason"


def test_choices_go_on_beside_one_that_has_finished():
    both = [{"index": 0, "delta": {}}, {"index": 1, "delta": {"content": "b"}, "finish_reason": "length"}]
    more = encode_event(json.dumps({"id": "1", "model": "m", "choices": both}))
    decoder = ChunkDecoder(STREAM, FakeResponse(), LIMIT)
    list(decoder.feed(event({"content": "a"}, "stop") + event({"content": "b"}, index=1) + more + EVENTS[-1]))
    assert decoder.done
    assert decoder.broken_by(MistralConnectionException("reset")).finish_reason == "stop"


def test_an_answer_begins_with_what_it_says():
    for delta in ({"content": "a"}, {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}):
        decoder = ChunkDecoder(STREAM, FakeResponse(), LIMIT)
        list(decoder.feed(EVENTS[0] + encode_comment("hm")))
        assert not decoder.answer.begun
        list(decoder.feed(event(delta)))
        assert decoder.answer.begun
    decoder = ChunkDecoder(STREAM, FakeResponse(), LIMIT)
    list(decoder.feed(event({}, "error")))
    assert decoder.answer.begun


def test_the_reason_and_the_text_are_of_the_first_choice():
    decoder = ChunkDecoder(STREAM, FakeResponse(), LIMIT)
    list(decoder.feed(event({"content": "b"}, "length", index=1) + event({"content": "a"}, "stop")))
    error = decoder.broken_by(MistralConnectionException("reset"))
    assert (error.text, error.finish_reason) == ("a", "stop")


@pytest.mark.parametrize("number", ["NaN", "-Infinity"])
def test_what_is_no_number_is_refused(number):
    data = f'{{"id": "1", "model": "m", "choices": [], "cost": {number}}}'
    with pytest.raises(ProtocolError, match="is no number in JSON"):
        decode(encode_event(data))
    assert decode(event({"content": "NaN, Infinity"}, "stop"), EVENTS[-1]) == "NaN, Infinity"


def test_a_compressed_stream_is_read_and_other_codings_are_refused():
    decoder = ChunkDecoder(STREAM, FakeResponse(headers={"content-encoding": "gzip"}), LIMIT)
    assert len(list(decoder.feed(gzip.compress(b"".join(EVENTS))))) == 4
    assert decoder.done
    with pytest.raises(ProtocolError, match="'br'"):
        ChunkDecoder(STREAM, FakeResponse(headers={"content-encoding": "br"}), LIMIT)


def test_other_kinds_of_chunk_pass():
    thinking = {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}
    chunks = list(ChunkDecoder(STREAM, FakeResponse(), LIMIT).feed(event(thinking, "stop", novelty=[1])))
    assert chunks[0].choices[0].delta.content[0].type == "thinking"
    assert chunks[0].novelty == [1]
    usage_only = encode_event(json.dumps({"id": "1", "model": "m", "choices": [], "usage": USAGE}))
    assert next(ChunkDecoder(STREAM, FakeResponse(), LIMIT).feed(usage_only)).usage.total_tokens == 6
