"""Weights that are not what they seem: rows 31 to 33 of the server's faults."""

import io
import pickle
import struct
import tarfile
import zipfile

import pytest

from mistral_client.server.weights import WeightsError, check_model, read_header, resolve


def test_row31_sizes_offsets_and_shapes_are_held_against_the_file(baby, tmp_path):
    original = baby.read_bytes()
    header = read_header(baby)
    first = header.tensors[0]
    name = first.name.encode()
    description = original.index(name) + len(name)  # dimensions, each of them, type, offset
    faults = {
        "shape": (description + 4, struct.pack("<Q", 32)),
        "sizes beyond the file": (description + 12, struct.pack("<Q", 2**40)),
        "overflow": (description + 12, struct.pack("<Q", 2**63)),
        "no elements": (description + 12, struct.pack("<Q", 0)),
        "offset": (description + 24, struct.pack("<Q", 64)),
        "tensors": (8, struct.pack("<Q", 2**62)),
        "values": (16, struct.pack("<Q", 2**62)),
    }
    for fault, (at, value) in faults.items():
        path = tmp_path / f"{fault}.gguf"
        path.write_bytes(original[:at] + value + original[at + len(value) :])
        with pytest.raises(WeightsError, match=rf"{fault}\.gguf"):
            check_model(path)


class Payload:
    """Opens a file when it is unpickled."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.mark, "w")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.ckpt", "model.gguf"])
def test_row32_pickles_are_refused_by_content(tmp_path, name, protocol):
    mark = tmp_path / "unpickled"
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Payload(str(mark)), protocol))
    with pytest.raises(WeightsError, match="Python pickle, which can run any code and is never loaded"):
        resolve(path)
    assert not mark.exists()


def test_row32_a_zip_of_pickles_is_refused_by_content(tmp_path):
    path = tmp_path / "model.gguf"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    with pytest.raises(WeightsError, match="pickles are never loaded"):
        resolve(path)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_row33_archives_are_not_opened(baby, tmp_path, mode):
    path = tmp_path / "model.gguf"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        archive.add(baby, "baby.gguf")
    path.write_bytes(packed.getvalue())
    with pytest.raises(WeightsError, match="is not a GGUF file"):
        resolve(path)
    assert list(tmp_path.iterdir()) == [path]
