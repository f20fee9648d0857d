from __future__ import annotations

import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_client import ProtocolError
from mistral_client._content_coding import decoder


def decoded(coding, *pieces):
    decode = decoder(coding)
    return b"".join(part for piece in pieces for part in decode(piece))


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_what_is_not_compressed_stays_as_it_is(coding):
    assert decoded(coding, b"one", b"", b"two") == b"onetwo"


@given(st.binary(max_size=2000), st.binary(max_size=2000), st.lists(st.integers(0, 4000), max_size=9))
def test_gzip_however_it_is_cut(first, second, cuts):
    data = gzip.compress(first) + gzip.compress(second)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert decoded("gzip", *pieces) == decoded("X-GZIP", data) == first + second


def test_a_bomb_comes_in_pieces():
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(bytes(64 * 1024 * 1024)) + packer.flush()
    assert max(len(piece) for piece in decoder("gzip")(bomb)) == 256 * 1024


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip", "identity, gzip"])
def test_what_was_not_asked_for_is_refused(coding):
    with pytest.raises(ProtocolError, match=f"compressed as '{coding}'"):
        decoder(coding)


@pytest.mark.parametrize("data", [b"{}", gzip.compress(b"data")[:10] + b"\xff\xff\xff\xff"])
def test_what_is_no_gzip(data):
    with pytest.raises(ProtocolError, match="said to be gzip"):
        decoded("gzip", data)
