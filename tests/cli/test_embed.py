"""`mistral-client embed`"""

import json
import os
import signal
import stat

import numpy as np
import pytest

from ..conftest import http
from .conftest import sent


def vectors(count: int, start: int = 0) -> bytes:
    data = [{"object": "embedding", "embedding": [start + n, 0.5], "index": n} for n in range(count)]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return http(json.dumps({"id": "1", "object": "list", "data": data, "model": "m", "usage": usage}).encode())


def test_a_line_for_each_text(invoke, raw_server):
    server = raw_server([vectors(2)])
    result = invoke("embed", "pear", "pêche", "--endpoint", server.url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        '{"index": 0, "text": "pear", "embedding": [0.0, 0.5]}\n{"index": 1, "text": "pêche", "embedding": [1.0, 0.5]}\n'
    )
    assert sent(server.requests[0]) == {"model": "mistral-embed", "input": ["pear", "pêche"]}


def test_lines_of_standard_input_in_batches(invoke, raw_server):
    server = raw_server([vectors(32), None], [vectors(3, start=32)])
    given = [f"text {n}" for n in range(35)]
    result = invoke("embed", "--endpoint", server.url, input="\n\n".join(given))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["text"] for line in lines] == given
    assert [line["index"] for line in lines] == [line["embedding"][0] for line in lines] == list(range(35))
    assert [len(sent(request)["input"]) for request in server.requests] == [32, 3]


@pytest.fixture
def file(tmp_path):
    def write(name, *lines):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


@pytest.mark.parametrize("name", ["fruit.txt", "fruit"])
def test_lines_of_a_file(invoke, raw_server, file, name):
    server = raw_server([vectors(2)])
    result = invoke("embed", file(name, "pear", "", "fig"), "--endpoint", server.url)
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == ["pear", "fig"]
    assert sent(server.requests[0])["input"] == ["pear", "fig"]


def test_a_text_that_names_no_file_is_a_text(invoke, raw_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    server = raw_server([vectors(1)])
    for text in ("folder", "x" * 5000):
        assert json.loads(invoke("embed", text, "--endpoint", server.url).stdout)["text"] == text


def test_a_field_of_jsonl(invoke, raw_server, file):
    server = raw_server([vectors(2)])
    path = file("books.jsonl", '{"title": "Émile", "n": 1}', "", '{"title": "Candide"}')
    for arguments, options in (([path], {}), (["-"], {"input": path.read_bytes()}), ([], {"input": path.read_bytes()})):
        result = invoke("embed", *arguments, "--field", "title", "--endpoint", server.url, **options)
        assert result.exit_code == 0
        assert sent(server.requests[-1])["input"] == ["Émile", "Candide"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no text in a field 'title'"),
        ('{"name": "x"}', "has no text in a field 'title'"),
        ('{"title": 1}', "has no text in a field 'title'"),
        ('{"title": " "}', "has no text in a field 'title'"),
    ],
)
def test_wrong_jsonl_is_told_before_anything_is_asked(invoke, file, line, message):
    path = file("books.jsonl", '{"title": "x"}', line)
    result = invoke("embed", path, "--field", "title", "--endpoint", "http://127.0.0.1:9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: line 2 of {path} {message}\n"


def test_wrong_usage(invoke, file):
    for arguments in (["a", "b", "--field", "x"], [file("a.jsonl", "{}")], ["--batch-size", 0, "x"], ["none.txt"]):
        result = invoke("embed", *arguments, "--endpoint", "http://127.0.0.1:9")
        assert (result.exit_code, result.stdout) == (2, "")


def test_jsonl_in_a_file(invoke, raw_server, tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_text("of before")
    output.chmod(0o640)
    server = raw_server([vectors(2), None], [vectors(1, start=2)])
    result = invoke("embed", "a", "é", "c", "--batch-size", 2, "-o", output, "--endpoint", server.url)
    assert (result.exit_code, result.output) == (0, "")
    assert output.read_text() == "".join(
        f'{{"index": {n}, "text": "{text}", "embedding": [{n}.0, 0.5]}}\n' for n, text in enumerate("aéc")
    )
    assert [*tmp_path.iterdir()] == [output]
    assert stat.S_IMODE(output.stat().st_mode) == 0o640


def test_an_array_in_a_file(invoke, raw_server, tmp_path):
    server = raw_server([vectors(2), None], [vectors(1, start=2)])
    output = tmp_path / "out.npy"
    assert invoke("embed", *"abc", "--batch-size", 2, "-o", output, "--endpoint", server.url).exit_code == 0
    array = np.load(output)
    assert (array.dtype, array.tolist()) == ("float32", [[0, 0.5], [1, 0.5], [2, 0.5]])


def test_an_array_of_nothing(invoke, tmp_path):
    invoke("embed", "-o", tmp_path / "out.npy", "--endpoint", "http://127.0.0.1:9", input="")
    assert np.load(tmp_path / "out.npy").shape == (0, 0)


@pytest.mark.parametrize("name", ["out.jsonl", "out.npy"])
def test_a_failure_names_the_batch_and_leaves_nothing(invoke, raw_server, tmp_path, name):
    server = raw_server([vectors(2), None], [http(b'{"message": "too long"}', "400 Bad Request")])
    result = invoke("embed", *"abc", "--batch-size", 2, "-o", tmp_path / name, "--endpoint", server.url)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: batch 2 of 2, texts 3 to 3: too long (HTTP 400")
    assert [*tmp_path.iterdir()] == []


def test_vectors_of_different_lengths_are_no_array(invoke, raw_server, tmp_path):
    other = {"object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    other["data"] = [{"embedding": [1.0], "index": 0}]
    server = raw_server([vectors(1), None], [http(json.dumps(other).encode())])
    result = invoke("embed", "a", "b", "--batch-size", 1, "-o", tmp_path / "out.npy", "--endpoint", server.url)
    assert (result.exit_code, result.stderr) == (
        1,
        "error: the vectors have different lengths, 2 and 1: they are no array\n",
    )
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_interrupted_leaves_what_was_there(command, raw_server, tmp_path, number, code):
    output = tmp_path / "out.jsonl"
    output.write_text("of before")
    server = raw_server([vectors(1), None], [60.0])
    embed = command("embed", "a", "b", "--batch-size", 1, "-o", output, "--endpoint", server.url)
    while len(server.requests) < 2:
        assert embed.poll() is None
    embed.send_signal(number)
    assert embed.finish() == (code, "", "")
    assert [*tmp_path.iterdir()] == [output]
    assert output.read_text() == "of before"


def test_a_file_that_cannot_be_written_is_told_before_anything_is_asked(invoke, tmp_path):
    for output, reason in ((tmp_path, "it is no file"), (tmp_path / "none" / "x", "No such file or directory")):
        result = invoke("embed", "a", "-o", output, "--endpoint", "http://127.0.0.1:9")
        assert (result.exit_code, result.stderr) == (1, f"error: {output} cannot be written: {reason}\n")


def test_a_progress_bar_on_a_terminal(command, raw_server, tmp_path):
    pty = pytest.importorskip("pty")
    ours, its = pty.openpty()
    server = raw_server([vectors(1)])
    embed = command("embed", "a", "b", "--batch-size", 1, "--endpoint", server.url, stderr=its)
    os.close(its)
    assert len(embed.stdout.read().splitlines()) == 2
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert embed.wait(30) == 0
    assert "Embedding" in shown


def test_no_lines_no_vectors(invoke):
    result = invoke("embed", "--endpoint", "http://127.0.0.1:9", input="\n")
    assert (result.exit_code, result.output) == (0, "")


def test_an_empty_text_is_wrong_usage(invoke):
    assert invoke("embed", "a", "", "--endpoint", "http://127.0.0.1:9").exit_code == 2


def test_an_answer_of_too_few_vectors(invoke, raw_server):
    result = invoke("embed", "a", "b", "--endpoint", raw_server([vectors(1)]).url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: batch 1 of 1, texts 1 to 2: the server gave 1 vectors for 2 texts\n"


def test_nobody_reads_on(command, raw_server):
    embed = command("embed", "--endpoint", raw_server([vectors(32)]).url)
    embed.stdout.close()
    embed.stdout = None
    assert embed.finish("text\n" * 32)[0] == 141


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_model_in_this_process(command, baby, encoding):
    embed = command("embed", "pear", "pêche", "--endpoint", f"local:{baby}", env={"PYTHONIOENCODING": encoding})
    code, output, errors = embed.finish()
    assert (code, errors) == (0, "")
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["text"] for line in lines] == ["pear", "pêche"]
    assert [len(line["embedding"]) for line in lines] == [1024, 1024]
