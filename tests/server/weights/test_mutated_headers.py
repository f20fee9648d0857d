"""20,000 headers with something wrong in them: a typed error or a model that loads, never the end of the process."""

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import struct

from mistral_client.server.weights import (
    WeightsError,
    baby,
    check_checkpoint,
    check_model,
    read_header,
    read_safetensors_header,
)

from ...conftest import SOAK

HEADERS = 20_000
LOADED = 4
"""So many of those that pass the check are loaded; all of them in a soak."""

NUMBERS = [0, 1, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]


def mutated(original: bytes, start: int, end: int, draw: random.Random) -> bytes:
    """One to three faults between two places: a bit, a byte, a number, a swap, a cut."""
    data = bytearray(original)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(start, end)
        match draw.randrange(5):
            case 0:
                data[at] ^= 1 << draw.randrange(8)
            case 1:
                data[at] = draw.randrange(256)
            case 2:
                data[at : at + 8] = struct.pack("<Q", draw.choice(NUMBERS))
            case 3:
                data[at : at + 4] = struct.pack("<I", draw.choice(NUMBERS) % 2**32)
            case _:
                other = draw.randrange(start, end - 8)
                data[at : at + 8] = data[other : other + 8]
    return bytes(data[: len(original)]) if draw.randrange(20) else bytes(data[: draw.randrange(end)])


def load(path: str) -> None:
    from mistral_client.server.engine import EngineError
    from mistral_client.server.engines.llama_cpp import LlamaCppEngine

    with contextlib.suppress(EngineError):
        LlamaCppEngine(path, context_length=64, slots=1, threads=1).close()


def test_mutated_headers_never_end_the_process(baby_gguf, tmp_path):
    original = baby_gguf.read_bytes()
    tensors = read_header(baby_gguf).tensors
    end = tensors[0].offset
    descriptions = original.index(tensors[0].name.encode()) - 16
    vocabulary = original.index(b"tokenizer.ggml.tokens")
    draw = random.Random(20_000)
    path = tmp_path / "mutated.gguf"
    path.write_bytes(original)
    passed = []
    refused = 0
    for number in range(HEADERS):
        # The words of the vocabulary are most of the header, and the least of it to go wrong.
        start, stop = draw.choice([(0, vocabulary), (descriptions, end), (0, end)])
        data = mutated(original, start, stop, draw)
        with path.open("r+b") as file:
            file.write(data[:end])  # the check reads no further
        os.truncate(path, len(data))
        try:
            check_model(path)
        except WeightsError:
            refused += 1
        else:
            passed.append(tmp_path / f"{number}.gguf")
            passed[-1].write_bytes(data)
            if not SOAK and len(passed) > LOADED:
                passed.pop(draw.randrange(len(passed))).unlink()
    assert refused > HEADERS // 2
    assert passed
    for model in passed:
        process = multiprocessing.get_context("spawn").Process(target=load, args=[str(model)])
        process.start()
        process.join(60)
        code = process.exitcode
        process.kill()
        process.join()
        process.close()
        assert code == 0, f"{model} ended the process with {code}"


VALUES = [0, 1, -1, 2**31, 2**63, 2**64, 1.5, True, None, "", "F16", "F64", "U8", [], [1], {}]
NAMES = ["", "x", "x" * 300, "\0", "__metadata__"]


def reworded(header: dict, draw: random.Random) -> bytes:
    """The same header with one to three of its values or names changed."""
    header = json.loads(json.dumps(header))
    for _ in range(draw.randint(1, 3)):
        name = draw.choice([name for name, described in header.items() if isinstance(described, dict) and described])
        described = header[name]
        match draw.randrange(6):
            case 0:
                described[draw.choice(list(described))] = draw.choice(VALUES)
            case 1:
                header[draw.choice(NAMES)] = header.pop(name)
            case 2:
                header[name] = draw.choice(VALUES)
            case 3:
                header[name] = header[draw.choice(list(header))]
            case 4:
                header.pop(name)
            case _:
                numbers = described.get(draw.choice(["shape", "data_offsets"]))
                if isinstance(numbers, list) and numbers:
                    at = draw.randrange(len(numbers))
                    numbers[at] = draw.choice([*VALUES[:9], 64, 128, numbers[-1]])
    return json.dumps(header).encode()


def load_checkpoint(paths: list[str]) -> None:
    """Loaded as Transformers does it, as far as that is native code."""
    import safetensors.numpy

    for path in paths:
        with contextlib.suppress(safetensors.SafetensorError):
            safetensors.numpy.load_file(path)


def test_mutated_headers_of_safetensors_never_end_the_process(tmp_path):
    folder = baby.write_safetensors(tmp_path / "baby")
    path = folder / "model.safetensors"
    original = path.read_bytes()
    end = 8 + int.from_bytes(original[:8], "little")
    header, rest = json.loads(original[8:end]), len(original) - end
    draw = random.Random(20_000)
    passed = []
    refused = 0
    for number in range(HEADERS):
        if number % 2:
            mutation = mutated(original[:end], 0, end, draw)
        else:
            text = reworded(header, draw)
            mutation = len(text).to_bytes(8, "little") + text
        path.write_bytes(mutation)
        os.truncate(path, len(mutation) + rest)  # a hole, for the check reads no further
        try:
            read_safetensors_header(path)
            if SOAK or len(passed) < 100:
                passed.append(str(shutil.copy(path, tmp_path / f"{number}.safetensors")))
            check_checkpoint(folder)
        except WeightsError:
            refused += 1
    # What is left is sound: another name or type of the same size, a comment, a change that was none.
    assert refused > HEADERS * 0.9
    assert passed
    process = multiprocessing.get_context("spawn").Process(target=load_checkpoint, args=[passed])
    process.start()
    process.join(120)
    code = process.exitcode
    process.kill()
    process.join()
    process.close()
    assert code == 0, f"one of {passed} ended the process with {code}"
