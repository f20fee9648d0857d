"""`mistral-client embed`"""

import json

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


def test_no_lines_no_vectors(invoke):
    result = invoke("embed", "--endpoint", "http://127.0.0.1:9", input="\n")
    assert (result.exit_code, result.output) == (0, "")


def test_an_empty_text_is_wrong_usage(invoke):
    assert invoke("embed", "a", "", "--endpoint", "http://127.0.0.1:9").exit_code == 2


def test_an_answer_of_too_few_vectors(invoke, raw_server):
    result = invoke("embed", "a", "b", "--endpoint", raw_server([vectors(1)]).url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: the server gave 1 vectors for 2 texts\n"


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
