import os
import resource
import struct
import time
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_client.server.weights import Header, ValueType, WeightsError, read_header

F32, Q4_0 = 0, 2


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...] = (8,), kind: int = F32, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file_of(values=(), tensors=(), data=bytes(1024), version=3, align=32) -> bytes:
    start = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values)) + b"".join(values) + b"".join(tensors)
    return start + bytes(-len(start) % align) + data


GOOD = file_of(
    [entry("general.architecture", 8, text("llama"))], [tensor("a"), tensor("b", (4, 2), F32, 32)], bytes(64)
)


def read(tmp_path: Path, content: bytes) -> Header:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return read_header(path)


def test_agrees_with_the_reader_of_gguf(baby_gguf):
    header, other = read_header(baby_gguf), gguf.GGUFReader(baby_gguf)
    assert header.version == 3
    assert header.alignment == 32
    fields = {name: field for name, field in other.fields.items() if not name.startswith("GGUF.")}
    assert header.metadata == {name: field.contents() for name, field in fields.items()}
    assert {name: [kind.value for kind in kinds] for name, kinds in header.types.items()} == {
        name: [kind.value for kind in field.types][:2] for name, field in fields.items()
    }
    assert [(t.name, t.shape, t.type, t.offset, t.size) for t in header.tensors] == [
        (t.name, tuple(map(int, t.shape)), t.tensor_type, t.data_offset, t.n_bytes) for t in other.tensors
    ]


@pytest.mark.parametrize("version", [2, 3])
def test_reads_every_type_of_value(tmp_path, version):
    values = [
        entry("u8", 0, struct.pack("<B", 255)),
        entry("i8", 1, struct.pack("<b", -1)),
        entry("u16", 2, struct.pack("<H", 65535)),
        entry("i16", 3, struct.pack("<h", -2)),
        entry("u32", 4, struct.pack("<I", 2**32 - 1)),
        entry("i32", 5, struct.pack("<i", -3)),
        entry("f32", 6, struct.pack("<f", 0.5)),
        entry("bool", 7, b"\1"),
        entry("text", 8, text("▁é")),
        entry("texts", 9, struct.pack("<IQ", 8, 2) + text("") + text("b")),
        entry("bools", 9, struct.pack("<IQ", 7, 3) + b"\0\1\0"),
        entry("floats", 9, struct.pack("<IQ2f", 6, 2, 1.0, -2.0)),
        entry("nothing", 9, struct.pack("<IQ", 4, 0)),
        entry("u64", 10, struct.pack("<Q", 2**64 - 1)),
        entry("i64", 11, struct.pack("<q", -4)),
        entry("f64", 12, struct.pack("<d", 0.1)),
        entry("broken text", 8, text(b"a\xff")),
    ]
    header = read(tmp_path, file_of(values, version=version))
    assert header.version == version
    assert header.metadata == {
        "u8": 255,
        "i8": -1,
        "u16": 65535,
        "i16": -2,
        "u32": 2**32 - 1,
        "i32": -3,
        "f32": 0.5,
        "bool": True,
        "text": "▁é",
        "texts": ["", "b"],
        "bools": [False, True, False],
        "floats": [1.0, -2.0],
        "nothing": [],
        "u64": 2**64 - 1,
        "i64": -4,
        "f64": 0.1,
        "broken text": "a\\xff",
    }
    assert header.metadata["bool"] is True
    assert header.types["texts"] == (ValueType.ARRAY, ValueType.STRING)
    assert header.types["f64"] == (ValueType.FLOAT64,)


def test_tensors_lie_where_the_alignment_puts_them(tmp_path):
    align = entry("general.alignment", 4, struct.pack("<I", 256))
    content = file_of([align], [tensor("a", (32, 3), Q4_0), tensor("b", (), F32, 256)], bytes(260), align=256)
    header = read(tmp_path, content)
    assert header.alignment == 256
    a, b = header.tensors
    assert (a.shape, a.type, a.offset, a.size) == ((32, 3), Q4_0, 256, 54)
    assert (b.shape, b.offset, b.size) == ((), 512, 4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"G", "is not a GGUF file"),
        (b"hello", "is not a GGUF file"),
        (b"GGUF\3\0\0\0", "is cut short"),
        (b"PK\x03\x04" + bytes(99), "zip archive.*pickles are never loaded"),
        (b"\x80\x02}q\0.", "pickle"),
        (struct.pack("<Q", 64) + b'{"a":{}}' + bytes(64), "safetensors"),
        (b"tjgg" + bytes(99), "GGML file of 2023"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "GGUF version 4"),
        (b"GGUF" + struct.pack("<IQQ", 0, 0, 0), "GGUF version 0"),
    ],
)
def test_says_what_a_file_is_that_is_not_ours(tmp_path, content, said):
    with pytest.raises(WeightsError, match=said):
        read(tmp_path, content)


def number(value: int) -> bytes:
    return struct.pack("<I", value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "cut short or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1), "cut short or damaged"),
        (file_of([text("k") + number(8) + struct.pack("<Q", 2**62)]), "cut short or damaged"),
        (file_of([text("k") + number(8) + struct.pack("<Q", 2**64 - 1)]), "cut short or damaged"),
        (file_of([struct.pack("<Q", 2**64 - 9)]), "cut short or damaged"),
        (file_of([entry("k", 9, struct.pack("<IQ", 0, 2**64 - 1))]), "'k' claims 18446744073709551615 items"),
        (file_of([entry("k", 9, struct.pack("<IQ", 0, 2**22))]), "cut short or damaged"),
        (file_of([entry("k", 9, struct.pack("<IQ", 8, 2**20))]), "cut short or damaged"),
        (file_of([entry("k", 9, struct.pack("<IQ", 9, 1))]), "array of arrays"),
        (file_of([entry("k", 13, b"")]), "unknown type 13"),
        (file_of([entry("k", 9, struct.pack("<IQ", 77, 1))]), "unknown type 77"),
        (file_of([entry("k", 7, b"\2")]), "neither true nor false"),
        (file_of([entry("k", 0, b"\2")] * 2), "'k' appears twice"),
        (file_of([entry("", 0, b"\2")]), "not a name"),
        (file_of([entry("k" * 300, 0, b"\2")]), "not a name"),
        (file_of([entry("a\0b", 0, b"\2")]), "not a name"),
        (file_of([entry(b"\xff", 0, b"\2")]), "not UTF-8"),
        (file_of([entry("general.alignment", 4, number(0))]), "alignment is 0"),
        (file_of([entry("general.alignment", 4, number(48))]), "alignment is 48"),
        (file_of([entry("general.alignment", 8, text("x"))]), "alignment is not a 32-bit number"),
        (file_of([entry("general.alignment", 4, number(2**31))], [tensor("a")]), "is cut short"),
        (file_of([], [tensor("a"), tensor("a", offset=32)]), "'a' appears twice"),
        (file_of([], [tensor("a", (1, 1, 1, 1, 8))]), "5 dimensions"),
        (file_of([], [tensor("a", (8, 0))]), "no elements"),
        (file_of([], [tensor("a", (2**63, 2**63))]), "is cut short"),
        (file_of([], [tensor("a", (33, 32), Q4_0)]), "no whole number of Q4_0 blocks"),
        (file_of([], [tensor("a", (), Q4_0)]), "no whole number of Q4_0 blocks"),
        (file_of([], [tensor("a", kind=4)]), "type 4, which"),
        (file_of([], [tensor("a", kind=2**32 - 1)]), "type 4294967295, which"),
        (file_of([], [tensor("a", offset=32)]), "not where the one before it ends"),
        (file_of([], [tensor("a"), tensor("b", offset=0)]), "'b' is not where"),
        (file_of([], [tensor("a"), tensor("b", offset=2**64 - 32)]), "'b' is not where"),
        (file_of([], [tensor("a", (257,))]), "is cut short: the tensor 'a'"),
    ],
)
def test_every_lie_of_a_header_is_named(tmp_path, content, said):
    with pytest.raises(WeightsError, match=said) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    assert len(read(tmp_path, GOOD).tensors) == 2
    for length in range(len(GOOD)):
        with pytest.raises(WeightsError, match=r"cut short|not a GGUF|empty"):
            read(tmp_path, GOOD[:length])


def test_bytes_after_the_last_tensor_do_no_harm(tmp_path):
    assert read(tmp_path, GOOD + bytes(100)).tensors == read(tmp_path, GOOD).tensors


@pytest.mark.parametrize("kind", [0, 7, 8])
def test_a_large_file_that_lies_costs_neither_time_nor_memory(tmp_path, kind):
    path = tmp_path / "large.gguf"
    path.write_bytes(file_of([entry("k", 9, struct.pack("<IQ", kind, 2**36))]))
    os.truncate(path, 2**38)  # sparse
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(WeightsError, match="claims 68719476736 items"):
        read_header(path)
    assert time.monotonic() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_header_larger_than_any_is_refused(tmp_path):
    path = tmp_path / "large.gguf"
    path.write_bytes(file_of([entry("k", 8, struct.pack("<Q", 2**36))]))
    os.truncate(path, 2**38)
    with pytest.raises(WeightsError, match="claims more than 128 MiB"):
        read_header(path)


def test_what_cannot_be_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="not a regular file"):
        read_header(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="not a regular file"):
        read_header(tmp_path)
    with pytest.raises(WeightsError, match="does not exist"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(WeightsError, match=r"cannot be read: .*embedded null"):
        read_header("a\0b.gguf")
    with pytest.raises(WeightsError, match="cannot be read: File name too long"):
        read_header(tmp_path / ("x" * 300))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_is_in_the_file_it_is_a_header_or_an_error(baby_gguf, tmp_path_factory, data):
    original = baby_gguf.read_bytes()
    content = bytearray(original)
    end = read_header(baby_gguf).tensors[0].offset
    # Half of the changes go where a header lies best: into the first values and the descriptions of the tensors.
    vocabulary = original.index(b"tokenizer.ggml.tokens")
    descriptions = original.index(b"token_embd.weight")
    places = st.one_of(st.integers(4, vocabulary + 60), st.integers(descriptions, end), st.integers(0, end))
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        new = data.draw(st.binary(min_size=1, max_size=8))
        content[place : place + len(new)] = new
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    path.write_bytes(content[:cut])
    try:
        header = read_header(path)
    except WeightsError as error:
        said = str(error)
    else:
        said = f"{path} is fine"
        assert all(t.offset + t.size <= len(content[:cut]) for t in header.tensors)
    assert said.startswith(f"{path} ")
    assert "\n" not in said
