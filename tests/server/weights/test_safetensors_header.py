import contextlib
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_client.server.weights import WeightsError, read_safetensors_header

safetensors = pytest.importorskip("safetensors.numpy")

FLOATS = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def written(path, header, data=b"\0" * 24):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_what_the_package_writes_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.zeros((), np.int64),
        "c": np.ones(5, np.float16),
        "d": np.ones((1, 2, 3, 4), np.uint8),
        "e": np.array([True, False]),
    }
    safetensors.save_file(tensors, path, metadata={"format": "pt"})
    data = path.read_bytes()
    header = read_safetensors_header(path)
    assert header.keys() == tensors.keys()
    for name, tensor in tensors.items():
        stored = header[name]
        assert (stored.name, stored.shape, stored.size, stored.items) == (
            name,
            tensor.shape,
            tensor.nbytes,
            tensor.size,
        )
        assert data[stored.offset : stored.offset + stored.size] == tensor.tobytes()


def test_a_file_without_tensors_is_one(tmp_path):
    assert read_safetensors_header(written(tmp_path / "a", {}, b"")) == {}


def changed(**values):
    return {"x": {**FLOATS, **values}}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"{", "not JSON"),
        (b"{}}", "not JSON"),
        (b'{"x":\xff}', "not UTF-8"),
        (b'{"x":' + b"[" * 100_000, "nested without end"),
        (b'{"x":' + b"9" * 5000 + b"}", "digits"),
        (b'{"a":1,"a":1}', "a key twice"),
        ({"__metadata__": {"format": 1}}, "metadata are no texts"),
        ({"__metadata__": []}, "metadata are no texts"),
        ({"x": []}, "not described by"),
        ({"x": {"dtype": "F32", "shape": []}}, "not described by"),
        ({"x": {**FLOATS, "more": 1}}, "not described by"),
        ({"": FLOATS}, "not a name"),
        ({"x" * 257: FLOATS}, "not a name"),
        ({"a\0b": FLOATS}, "not a name"),
        ({"\ud800": FLOATS}, "not a name"),
        (changed(dtype="F31"), "unknown type 'F31'"),
        (changed(dtype=["F32"]), "unknown type"),
        (changed(shape=[2, -3]), "has the shape"),
        (changed(shape=[2, True]), "has the shape"),
        (changed(shape=[2, 3.0]), "has the shape"),
        (changed(shape=[0]), "has the shape"),
        (changed(shape=[1] * 9), "has the shape"),
        (changed(shape=[2**63]), "has the shape"),
        (changed(shape=[2**40, 2**40]), "does not take the bytes"),
        (changed(shape=6), "has the shape"),
        (changed(data_offsets=[0]), "has the offsets"),
        (changed(data_offsets=[-1, 23]), "has the offsets"),
        (changed(data_offsets=[24, 0]), "does not take the bytes"),
        (changed(data_offsets=[0, 20]), "does not take the bytes"),
        (changed(data_offsets=[4, 28]), "is not where the one before it ends"),
        ({"x": FLOATS, "y": FLOATS}, "'y' is not where the one before it ends"),
        ({"x": FLOATS, "y": {**FLOATS, "data_offsets": [12, 36]}}, "'y' is not where"),
        ({"x": FLOATS, "y": {**FLOATS, "data_offsets": [24, 48]}}, "end at byte"),
        ({"x": {**FLOATS, "shape": [5], "data_offsets": [0, 20]}}, "end at byte"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, header, said):
    path = written(tmp_path / "a.safetensors", header)
    with pytest.raises(WeightsError, match=said) as caught:
        read_safetensors_header(path)
    assert str(path) in str(caught.value)


def test_every_cut_is_noticed(tmp_path):
    data = written(tmp_path / "whole", {"x": FLOATS}).read_bytes()
    path = tmp_path / "cut"
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(WeightsError):
            read_safetensors_header(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(WeightsError, match="end at byte"):
        read_safetensors_header(path)


def test_a_length_beyond_the_file_is_refused_unread(tmp_path):
    path = tmp_path / "a"
    for length, said in ((100, "ends inside its header"), (2**40, "claims a header of 1099511627776 bytes")):
        path.write_bytes(length.to_bytes(8, "little") + b"{}")
        with pytest.raises(WeightsError, match=said):
            read_safetensors_header(path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, said in {
        tmp_path: "not a regular file",
        tmp_path / "pipe": "not a regular file",
        tmp_path / "none": "does not exist",
        tmp_path / "loop": "cannot be read",
        "a\0b": "cannot be read",
    }.items():
        with pytest.raises(WeightsError, match=said):
            read_safetensors_header(path)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_error_or_in_tensors(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(len(data).to_bytes(8, "little") + b"{" + data)
    with contextlib.suppress(WeightsError):
        read_safetensors_header(path)
