"""A recorded stream, cut at every byte in three ways: the reader gets all of it, or an error that says what he got."""

from __future__ import annotations

import random

import pytest

from mistral_client import StreamInterrupted
from mistral_client._sse import EventDecoder

from .conftest import HELLO, SOAK, chunk, chunked_head, reset
from .test_chunks import EVENTS, TEXT, USAGE
from .test_clients import KEY, STREAM, header, text_of

RECORDED = b"".join(EVENTS)
DONE = len(RECORDED) - 1  # the second of the two line ends after [DONE] completes it
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"

# What comes before the bytes, and after them.
WAYS = {
    "clean end": (lambda: [PLAIN], []),
    "inside a chunk": (lambda: [chunked_head(), b"%x\r\n" % (len(RECORDED) + 1)], []),
    "reset": (lambda: [chunked_head(), b"%x\r\n" % (len(RECORDED) + 1)], [reset]),
}


def heard(data):
    """What can be known of an answer from the beginning of its stream."""
    events = [event.data for event in EventDecoder().feed(data)]
    text = "".join(part for part in ("Camem", "bert \\u2028 \\u00e9") if any(part in event for event in events))
    return text.encode().decode("unicode_escape"), any('"stop"' in event for event in events)


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_cut_at_every_byte(make_client, raw_server, way):
    before, after = WAYS[way]
    cuts = range(len(RECORDED) + 1) if SOAK else [*range(3, len(RECORDED), 29), DONE - 1, DONE, DONE + 1]
    server = raw_server(*[[*before(), RECORDED[:cut], *after] for cut in cuts])
    client = make_client(KEY, server.url, 0)
    for cut in cuts:
        seen = []
        stream = client.chat_stream(HELLO, "m")
        if cut > DONE:
            assert text_of(stream) == TEXT
            continue
        with pytest.raises(StreamInterrupted) as raised:
            seen.extend(chunk.choices[0].delta.content for chunk in stream)
        text, finished = heard(RECORDED[:cut])
        assert raised.value.text == "".join(seen) == text, cut
        assert (raised.value.finish_reason, raised.value.usage) == (("stop", USAGE) if finished else (None, None)), cut


def test_what_breaks_before_the_answer_is_tried_again_and_no_token_is_seen_twice(make_client, raw_server):
    """Of each five calls one meets a stream that is reset before its answer, sometimes twice."""
    calls = 2000 if SOAK else 40
    dice = random.Random(2024)
    early = [[chunked_head(), reset], [chunked_head(), chunk(EVENTS[0]), reset], [chunked_head(), chunk(b": hm\n\n")]]
    scripts = []
    for _ in range(calls):
        if dice.random() < 0.2:
            scripts += dice.choices(early, k=dice.choice([1, 1, 1, 2]))
        scripts.append([*STREAM, None])
    server = raw_server(*scripts)
    client = make_client(KEY, server.url, 2)
    for _ in range(calls):
        assert text_of(client.chat_stream(HELLO, "m")) == TEXT
    assert len(server.requests) == len(scripts)
    assert len({header(request, "idempotency-key") for request in server.requests}) == calls
