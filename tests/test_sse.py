"""The decoder against the conformance cases however they are cut, and against a reference that reads all at once."""

from __future__ import annotations

import base64
import json
import random
import re
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mistral_client._sse import EventDecoder, EventTooLong, encode_comment, encode_event

from .conftest import SOAK

# A soak run takes some minutes: MISTRAL_SOAK=1 pytest tests/test_sse.py
thoroughly = settings(max_examples=100_000 if SOAK else 500, deadline=None)

CASES = json.loads((Path(__file__).parent / "data" / "sse_cases.json").read_text())["cases"]
DECODABLE = [case for case in CASES if case["expected_error"] is None]

Seen = list[tuple[str, str, str]]


def decode(pieces: Iterable[bytes], **options: int | None) -> tuple[Seen, EventDecoder]:
    decoder = EventDecoder(**options)
    seen = [(event.type, event.data, decoder.last_event_id) for piece in pieces for event in decoder.feed(piece)]
    return seen, decoder


def splits(raw: bytes) -> Iterator[list[bytes]]:
    yield [raw]
    yield [raw[i : i + 1] for i in range(len(raw))]
    yield [raw, b"data: a line that never ends"]
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


class Reading(NamedTuple):
    events: Seen
    blank_lines: list[int]  # for each event the number of the line that dispatched it
    last_event_id: str
    retry: int | None


def reference(raw: bytes) -> Reading:
    """The standard's algorithm, word for word, on the whole text.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    text = raw.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events, blank_lines, data, kind, id_buffer, last_event_id, retry = [], [], "", "", "", "", None
    for number, line in enumerate(text.split("\n")[:-1]):
        if line == "":
            last_event_id = id_buffer
            if data:
                events.append((kind or "message", data.removesuffix("\n"), last_event_id))
                blank_lines.append(number)
            data, kind = "", ""
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data += value + "\n"
            elif field == "event":
                kind = value
            elif field == "id" and "\0" not in value:
                id_buffer = value
            # Here alone we depart from the standard, which knows no longest number.
            elif field == "retry" and re.fullmatch("[0-9]{1,15}", value):
                retry = int(value)
    return Reading(events, blank_lines, last_event_id, retry)


LINE_ENDS = [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"]
FIELDS = [b"data", b"data:", b"data: ", b"event: ", b"id", b"id: ", b"retry: ", b"retry: 20", b": "]
LINES = [b"data: a\n", b"data: b\r\n", b"data: c\n\n", b"event: d\n", b"id: 7\r", b"retry: 15\n", b": e\n"]
SIGNS = [
    b"",
    b":",
    b" ",
    b"x",
    b"1",
    b"\0",
    b"\x0b",
    *(sign.encode() for sign in ("\ufeff", "\u20ac", "\x85", "\u2028")),
]
BROKEN = [b"\xe2\x82", b"\xc3", b"\xa9", b"\xff", b"\xed\xa0\x80", b"\xf0\x9f"]
WORDS = [*SIGNS, *FIELDS, *LINES, *BROKEN, *LINE_ENDS, *LINE_ENDS]
# One byte chooses one word: quick to draw, and nearly half of the streams have events.
stream_bytes = st.binary(min_size=8, max_size=40).map(
    lambda choices: b"".join([WORDS[choice % len(WORDS)] for choice in choices])
)


@thoroughly
@given(stream_bytes, st.binary(max_size=12))
@example(b"data: \xc3\n\n\xa9", b"\x07")
def test_every_cut_gives_what_the_whole_gives(raw, cuts):
    places = sorted({0, len(raw), *(cut for cut in cuts if cut <= len(raw))})
    seen, decoder = decode(raw[a:b] for a, b in pairwise(places))
    expected = reference(raw)
    assert seen == expected.events
    assert (decoder.last_event_id, decoder.retry) == (expected.last_event_id, expected.retry)


@thoroughly
@given(stream_bytes)
@example(b"data: a\r\n\r\ndata: b\r\rdata: c\n\n")
def test_an_event_is_out_with_the_byte_that_ends_its_blank_line(raw):
    decoder = EventDecoder()
    places = [at for at, byte in enumerate(raw) for _ in decoder.feed(bytes([byte]))]
    # Of a CR LF it is the CR: the line is over, whatever comes next.
    line_ends = [end.start() for end in re.finditer(rb"\r\n?|\n", raw)]
    assert places == [line_ends[number] for number in reference(raw).blank_lines]


def test_an_event_is_out_with_its_last_byte():
    decoder = EventDecoder()
    assert [event.data for event in decoder.feed(b"data: a\r\n\r")] == ["a"]
    assert [event.data for event in decoder.feed(b"\ndata: b\n")] == []
    assert [event.data for event in decoder.feed(b"\n")] == ["b"]


def test_an_event_knows_the_id_that_was_given_with_it():
    decoder = EventDecoder()
    raw = b"data: a\n\nid: 7\ndata: b\n\ndata: c\n\nid: 8\n\ndata: d\n\nid\ndata: e\n\n"
    assert [(event.data, event.id) for event in decoder.feed(raw)] == [
        ("a", None),
        ("b", "7"),
        ("c", None),
        ("d", None),
        ("e", ""),
    ]


@pytest.mark.parametrize("byte", [bytes([value]) for value in range(256) if bytes([value]) not in b"\r\n"])
def test_every_byte_but_a_line_end_may_end_a_value(byte):
    seen, _ = decode([b"data: a" + byte + b"\n\n"])
    assert seen == [("message", (b"a" + byte).decode("utf-8", "replace"), "")]


def test_a_byte_order_mark_counts_as_the_first_thing_only():
    seen, _ = decode([b"\n\xef\xbb\xbfdata: a\n\n"])
    assert seen == []


def test_broken_utf8_is_replaced_wherever_it_stands():
    seen, _ = decode([b"event: e\xff\nid: i\xff\ndata: d\xff\n\n"])
    assert seen == [("e\ufffd", "d\ufffd", "i\ufffd")]


@pytest.mark.parametrize(
    ("value", "retry"),
    [(b"9" * 15, 999_999_999_999_999), (b"9" * 16, None), (b"9" * 5000, None), ("٣".encode(), None), (b"", None)],
    ids=["15 digits", "16 digits", "5000 digits", "an Arabic digit", "nothing"],
)
def test_retry_takes_15_ascii_digits(value, retry):
    _, decoder = decode([b"retry: " + value + b"\n"])
    assert decoder.retry == retry


@given(st.text(), st.sampled_from(["", "error"]))
def test_encode_is_the_inverse_of_decode(data, kind):
    seen, _ = decode([encode_comment("still here"), encode_event(data, kind)])
    expected = data.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\r", "\n")
    assert seen == [(kind or "message", expected, "")]


def test_the_bytes_of_events_and_comments():
    assert encode_event("a") == b"data: a\n\n"
    assert encode_event("a\r\nb\rc\n", "error") == b"event: error\ndata: a\ndata: b\ndata: c\ndata: \n\n"
    assert encode_comment() == b": \n\n"
    assert encode_comment("still here") == b": still here\n\n"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_type_is_one_line(end):
    with pytest.raises(ValueError, match=r"^an event's type is one line$"):
        encode_event("data", f"two{end}lines")


def test_an_event_as_long_as_the_limit_is_none_too_long():
    decoder = EventDecoder(limit=1000)
    event = b"data: " + b"x" * 994
    for _ in range(3):
        assert [event.data for event in decoder.feed(event + b"\n\n")] == ["x" * 994]
    with pytest.raises(EventTooLong, match="1000 bytes"):
        list(decoder.feed(event + b"x"))


def test_an_events_lines_count_together():
    decoder = EventDecoder(limit=1000)
    with pytest.raises(EventTooLong, match="1000 bytes"):
        list(decoder.feed(b"data: 3456789\n" * 77))
    decoder = EventDecoder(limit=1000)
    assert [len(event.data) for event in decoder.feed(b"data: 3456789\n" * 76 + b"\n")] == [76 * 7 + 75]


def test_events_ahead_of_one_that_is_too_long_are_given_out():
    events = EventDecoder(limit=1000).feed(b"data: a\n\n" + b"x" * 1001)
    assert next(events).data == "a"
    with pytest.raises(EventTooLong):
        next(events)


def test_no_limit_is_none():
    seen, _ = decode([b"data: " + b"x" * 40_000_000 + b"\n\n"], limit=None)
    assert [len(data) for _, data, _ in seen] == [40_000_000]


ENDLESS = {
    "a line": lambda: b"data: " + bytes(4096),
    "a line in small pieces": lambda: bytes(2),
    "an event": lambda: b"data: " + bytes(4096) + b"\n",
    "an event of small lines": lambda: b"data:xy\n",
}


@pytest.mark.parametrize("piece", ENDLESS.values(), ids=ENDLESS)
def test_memory_is_bounded(piece):
    limit = 1024 * 1024 if len(piece()) > 4096 else 64 * 1024
    # New bytes each time, or nothing would be held but references to one piece.
    pieces = (piece() for _ in range(limit))
    tracemalloc.start()
    try:
        with pytest.raises(EventTooLong):
            decode(pieces, limit=limit)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert limit / 4 < peak < 2 * limit


@pytest.mark.parametrize("field", [b"id", b"event"])
def test_what_is_held_beside_the_data_counts(field):
    with pytest.raises(EventTooLong):
        decode([field + b": " + b"x" * 600 + b"\n", b"data: " + b"x" * 600 + b"\n\n"], limit=1000)


@pytest.mark.parametrize("size", [20, 900])
def test_comments_for_ever_hold_nothing(size):
    decoder = EventDecoder(limit=1000)
    tracemalloc.start()
    try:
        for _ in range(1000):
            assert list(decoder.feed(b": " + b"." * size + b"\n")) == []
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 5000
    assert [event.data for event in decoder.feed(b"data: yes\n\n")] == ["yes"]


def work(pieces: Iterable[bytes]) -> int:
    """Bytes that decoding looked at and bytes that it allocated: counted, so that no machine is too slow for the test.

    Looked at is what a method of bytes or text was called on; allocated is, step by step, how far memory rose. What is
    looked through by `in` or by a regular expression, and in place, stays unseen.
    """
    looked_at = allocated = 0

    def look(_frame, what, function):
        nonlocal looked_at
        if what == "c_call" and isinstance(function.__self__, bytes | bytearray | str | memoryview):
            looked_at += len(function.__self__)

    decoder = EventDecoder(limit=None)
    before = sys.getprofile()
    tracemalloc.start()
    sys.setprofile(look)
    try:
        for piece in pieces:
            events, event = decoder.feed(piece), piece
            while event is not None:
                held, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
                event = next(events, None)
                allocated += tracemalloc.get_traced_memory()[1] - held
    finally:
        sys.setprofile(before)
        tracemalloc.stop()
    return looked_at + allocated


@pytest.mark.parametrize(
    "pieces",
    [
        lambda n: [b"data: ", *[b"x" * 64] * n, b"\n\n"],
        lambda n: [*[b"data: " + b"x" * 57 + b"\n"] * n, b"\n"],
        lambda n: [b"data: " + b"x" * 64 * n + b"\n\n"],
        lambda n: [(b"data: " + b"x" * 57 + b"\n") * n + b"\n"],
        lambda n: [(b"data: " + b"x" * 56 + b"\n\n") * n],
        lambda n: [(b": " + b"x" * 61 + b"\n") * n],
        lambda n: [b"\r\n" * 4 * n],
    ],
    ids=[
        "a line in many pieces",
        "an event of many lines in many pieces",
        "a line in one piece",
        "an event of many lines in one piece",
        "many events in one piece",
        "many comments in one piece",
        "many blank lines in one piece",
    ],
)
def test_twice_the_bytes_are_twice_the_work(pieces):
    assert work(pieces(4096)) < 2.2 * work(pieces(2048))


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_only_cr_and_lf_end_a_line(character):
    seen, _ = decode([f"data: a{character}b\n\n".encode()])
    assert seen == [("message", f"a{character}b", "")]
