"""The decoder against the conformance cases however they are cut, and against a reference that reads all at once."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mistral_client._sse import Event, EventDecoder, EventTooLong, encode_comment, encode_event

CASES = json.loads((Path(__file__).parent / "data" / "sse_cases.json").read_text())["cases"]
DECODABLE = [case for case in CASES if case["expected_error"] is None]

Seen = list[tuple[str, str, str]]


def decode(pieces: Iterable[bytes]) -> tuple[Seen, EventDecoder]:
    decoder = EventDecoder()
    seen = [(event.type, event.data, decoder.last_event_id) for piece in pieces for event in decoder.feed(piece)]
    return seen, decoder


def splits(raw: bytes) -> Iterator[list[bytes]]:
    yield [raw]
    yield [raw[i : i + 1] for i in range(len(raw))]
    for cut in range(len(raw) + 1):
        yield [raw[:cut], raw[cut:]]
        yield [raw[:cut], b"", raw[cut:], b""]
    dice = random.Random(2024)
    for _ in range(64):
        cuts = sorted(dice.choices(range(len(raw) + 1), k=dice.randint(1, 8)))
        yield [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


@pytest.mark.parametrize("case", DECODABLE, ids=lambda case: case["name"])
def test_conformance(case):
    raw = base64.b64decode(case["raw_base64"])
    expected = [(event["type"], event["data"], event["lastEventId"]) for event in case["expected_events"]]
    for pieces in splits(raw):
        seen, decoder = decode(pieces)
        assert seen == expected, pieces
        assert decoder.last_event_id == case["expected_last_event_id"], pieces
        if case["expected_retry_ms"] != "any":
            assert decoder.retry == case["expected_retry_ms"], pieces


def reference(raw: bytes) -> list[Event]:
    """The standard's algorithm, word for word, on the whole text."""
    text = raw.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events, data, kind = [], "", ""
    for line in text.split("\n")[:-1]:
        if line == "":
            if data:
                events.append(Event(data.removesuffix("\n"), kind or "message"))
            data, kind = "", ""
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data += value + "\n"
            elif field == "event":
                kind = value
    return events


stream_bytes = st.lists(
    st.sampled_from(
        [
            b"data",
            b"event",
            b"id",
            b"retry",
            b":",
            b" ",
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"x",
            b"1",
            b"\0",
            b"\xef\xbb\xbf",
        ]
    )
    | st.binary(max_size=6)
    | st.text(max_size=4).map(str.encode),
    max_size=40,
).map(b"".join)


@given(stream_bytes, st.lists(st.integers(0, 300), max_size=12))
@example(b"data: \xc3\n\n\xa9", [7])
def test_every_cut_gives_what_the_whole_gives(raw, cuts):
    places = sorted({0, len(raw), *(cut for cut in cuts if cut <= len(raw))})
    pieces = [raw[a:b] for a, b in pairwise(places)]
    decoder = EventDecoder()
    assert [event for piece in pieces for event in decoder.feed(piece)] == reference(raw)


def test_an_event_is_out_with_its_last_byte():
    decoder = EventDecoder()
    assert list(decoder.feed(b"data: a\r\n\r")) == [Event("a")]
    assert list(decoder.feed(b"\ndata: b\n")) == []
    assert list(decoder.feed(b"\n")) == [Event("b")]


@given(st.text(), st.sampled_from(["", "error"]))
def test_encode_is_the_inverse_of_decode(data, kind):
    seen, _ = decode([encode_comment("still here"), encode_event(data, kind)])
    expected = data.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\r", "\n")
    assert seen == [(kind or "message", expected, "")]


def test_a_type_is_one_line():
    with pytest.raises(ValueError, match="one line"):
        encode_event("data", "two\nlines")


@pytest.mark.parametrize(
    "piece", [b"x" * 100, b"data: " + b"x" * 100 + b"\n"], ids=["a line without an end", "an event without an end"]
)
def test_memory_is_bounded(piece):
    decoder = EventDecoder(limit=1000)
    with pytest.raises(EventTooLong, match="1000 bytes"):
        [list(decoder.feed(piece)) for _ in range(20)]


def test_comments_for_ever_hold_nothing():
    decoder = EventDecoder(limit=1000)
    for _ in range(1000):
        assert list(decoder.feed(b": are you still there?\n")) == []
    assert list(decoder.feed(b"data: yes\n\n")) == [Event("yes")]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_only_cr_and_lf_end_a_line(character):
    seen, _ = decode([f"data: a{character}b\n\n".encode()])
    assert seen == [("message", f"a{character}b", "")]
