"""h11 reads the same from a response whose chunks were joined as from the response itself, right or wrong."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_client._http_chunks import ChunkJoiner

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding:  chunked\r\n\r\n"


def chunked(contents, head=HEAD, end=b"0\r\n\r\n"):
    return head + b"".join(b"%x\r\n%b\r\n" % (len(content), content) for content in contents) + end


def read(pieces):
    """The body that h11 makes of these bytes, and how it ended."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    body = b""
    try:
        for piece in [*pieces, b""]:
            connection.receive_data(piece)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.EndOfMessage):
                    return body, "whole"
                if isinstance(event, h11.Data):
                    body += bytes(event.data)
    except h11.RemoteProtocolError:
        return body, "broken"
    return body, "unfinished"


def joined(pieces):
    joiner = ChunkJoiner()
    return [given for piece in pieces if (given := joiner.feed(piece))]


def cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places} - {0, len(data)})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


CONTENTS = st.lists(st.binary(min_size=1, max_size=40), max_size=12)
PLACES = st.lists(st.integers(0, 2000), max_size=8)


@given(CONTENTS, PLACES)
def test_the_body_is_the_same_however_it_was_cut(contents, places):
    pieces = cut(chunked(contents), places)
    assert read(joined(pieces)) == read(pieces) == (b"".join(contents), "whole")


@given(CONTENTS, PLACES, st.data())
def test_what_is_wrong_is_still_wrong(contents, places, data):
    """A byte of the framing or of the content is another; the last chunk is missing; the bytes end anywhere."""
    whole = bytearray(chunked(contents, end=data.draw(st.sampled_from([b"0\r\n\r\n", b"", b"0\r\nx: y\r\n\r\n"]))))
    at = data.draw(st.integers(len(HEAD), len(whole)))
    if at < len(whole):
        whole[at] = data.draw(st.sampled_from(b"\r\n0f;x +-_"))
    pieces = cut(bytes(whole[: data.draw(st.integers(1, len(whole)))]), places)
    assert read(joined(pieces)) == read(pieces)


def test_what_arrives_together_is_one_chunk():
    events = [b"data: %d\n\n" % number for number in range(100)]
    (given,) = joined([chunked(events)])
    content = b"".join(events)
    assert given == HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)


def test_nothing_that_can_be_read_is_held_back():
    """Each event is given on with the byte that completes it."""
    joiner = ChunkJoiner()
    assert joiner.feed(HEAD) == HEAD
    for number in range(10):
        piece = b"7\r\nevent %d\r\n" % number
        assert joiner.feed(piece) == piece
    assert joiner.feed(b"7\r\neve") == b"7\r\neve"
    assert joiner.feed(b"nt 8") == b"nt 8"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 503 Down\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD,
        HEAD[:-1],
    ],
)
def test_other_responses_go_through_as_they_are(head):
    pieces = [head, b"1\r\na\r\n1\r\nb\r\n"]
    assert joined(pieces) == pieces


@pytest.mark.parametrize("size", [b"0x1", b"+1", b" 1", b"1_0", b"1;a=b", b"", b"123456789", b"g"])
def test_a_size_that_is_not_plain_is_left_to_h11(size):
    pieces = [HEAD, b"1\r\na\r\n1\r\nb\r\n" + size + b"\r\n", b"1\r\na\r\n1\r\nb\r\n"]
    assert joined(pieces) == [HEAD, b"2\r\nab\r\n" + size + b"\r\n", pieces[2]]
