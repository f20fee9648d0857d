"""`mistral-client chat PROMPT`"""

import json
import os

import pytest

from ..conftest import chunk, chunked_head, http
from .conftest import events, sent


def test_answer_and_nothing_else(invoke, raw_server):
    server = raw_server(events("Camem", "bert."))
    result = invoke("chat", "Which cheese?", "--endpoint", server.url)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Camembert.\n", "")
    assert sent(server.requests[0]) == {
        "model": "mistral-small",
        "messages": [{"role": "user", "content": "Which cheese?"}],
        "stream": True,
    }


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["a\n"], "a\n"),
        (["a", "\n", "\n"], "a\n"),
        (["a\n", "\nb"], "a\n\nb\n"),
        (["\n\n", "a"], "\n\na\n"),
        ([], "\n"),
    ],
)
def test_one_newline_at_the_end(invoke, raw_server, pieces, shown):
    assert invoke("chat", "x", "--endpoint", raw_server(events(*pieces)).url).stdout == shown


def test_options_reach_the_server(invoke, raw_server):
    server = raw_server(events("ok"))
    options = [
        "-m",
        "tiny",
        "--system",
        "be-brief",
        "--temperature",
        "0",
        "--top-p",
        "0.5",
        "--max-tokens",
        "7",
        "--seed",
        "3",
        "--stop",
        "a",
        "--stop",
        "b",
    ]
    assert invoke("chat", *options, "x", env={"MISTRAL_ENDPOINT": server.url}).exit_code == 0
    assert sent(server.requests[0]) == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "be-brief"}, {"role": "user", "content": "x"}],
        "temperature": 0.0,
        "top_p": 0.5,
        "max_tokens": 7,
        "random_seed": 3,
        "stop": ["a", "b"],
        "stream": True,
    }


def test_no_stream(invoke, raw_server):
    answer = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Brie.\n"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1},
    }
    server = raw_server([http(json.dumps(answer).encode())])
    assert invoke("chat", "x", "--no-stream", "--endpoint", server.url).stdout == "Brie.\n"
    assert "stream" not in sent(server.requests[0])


def test_thoughts_are_left_out(invoke, raw_server):
    content = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "yes"}]
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": "stop"}
    data = json.dumps({"id": "1", "model": "m", "choices": [choice]})
    server = raw_server([chunked_head(), chunk(f"data: {data}\n\ndata: [DONE]\n\n".encode()), chunk(b"")])
    assert invoke("chat", "x", "--endpoint", server.url).stdout == "yes\n"


def test_a_file_gets_the_answer_as_it_came(invoke, raw_server):
    server = raw_server(events("\x1b[1mb", "\x07\r\n"))
    assert invoke("chat", "x", "--endpoint", server.url).stdout_bytes == b"\x1b[1mb\x07\r\n"


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_prompt_from_standard_input(invoke, raw_server, arguments):
    server = raw_server(events("ok"))
    result = invoke("chat", *arguments, "--endpoint", server.url, input="\ufeff  one\r\ntwo é\n\n".encode())
    assert result.stdout == "ok\n"
    assert sent(server.requests[0])["messages"] == [{"role": "user", "content": "  one\ntwo é"}]


def test_a_prompt_leaves_standard_input_alone(invoke, raw_server):
    server = raw_server(events("ok"))
    invoke("chat", "x", "--endpoint", server.url, input="y")
    assert sent(server.requests[0])["messages"][0]["content"] == "x"


@pytest.mark.parametrize("arguments", [(), ("-",), ("",), (" ",), ("x", "--temperature", "2"), ("x", "y")])
def test_wrong_usage(invoke, arguments):
    result = invoke("chat", "--endpoint", "http://127.0.0.1:9", *arguments, input="\n")
    assert (result.exit_code, result.stdout) == (2, "")


def test_standard_input_must_be_utf8(invoke):
    result = invoke("chat", "--endpoint", "http://127.0.0.1:9", input=b"one\nt\xffwo")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: line 2 of standard input is not UTF-8: invalid start byte\n"


def test_error_of_the_server_is_one_line(invoke, raw_server):
    body = {"object": "error", "message": "Bad\n\x1b[31m model", "type": "invalid_model", "code": "1500"}
    server = raw_server([http(json.dumps(body).encode(), "400 Bad Request")])
    result = invoke("chat", "x", "--endpoint", server.url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: Bad [31m model (HTTP 400, ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("nonsense", "error: the endpoint is neither 'local', "),
        ("https://example.org", "error: there is no API key for https://example.org: "),
        ("local:nowhere.gguf", "error: nowhere.gguf does not exist; "),
    ],
)
def test_endpoint_that_cannot_be(invoke, endpoint, message):
    result = invoke("chat", "x", "--endpoint", endpoint)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_stream_that_breaks_off_keeps_its_text(invoke, raw_server):
    result = invoke("chat", "x", "--endpoint", raw_server(events("half a", finish_reason=None)).url)
    assert (result.exit_code, result.stdout) == (1, "half a\n")
    assert result.stderr.startswith("error: the event stream ended before [DONE]")


def test_each_piece_is_shown_at_once_and_ctrl_c_ends(command, raw_server):
    chat = command("chat", "x", "--endpoint", raw_server(events("first", 60.0, "second")).url)
    assert chat.read_until(chat.stdout, "first") == "first"
    chat.interrupt()
    assert chat.finish() == (130, "\n", "")


def test_ctrl_c_before_the_first_piece(command, raw_server):
    server = raw_server([60.0])
    chat = command("chat", "x", "--endpoint", server.url)
    while not server.requests:
        assert chat.poll() is None
    chat.interrupt()
    assert chat.finish() == (130, "", "")


def test_nobody_reads_on(command, raw_server):
    chat = command("chat", "x", "--endpoint", raw_server(events("first\n", *["more\n", 0.01] * 200)).url)
    chat.read_until(chat.stdout, "first")
    chat.stdout.close()
    chat.stdout = None
    assert chat.wait(30) == 141
    assert chat.stderr.read() == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_disk(command, raw_server):
    with open("/dev/full", "w") as full:
        chat = command("chat", "x", "--endpoint", raw_server(events("much")).url, stdout=full)
        code, _, errors = chat.finish()
    assert (code, errors) == (1, "error: [Errno 28] No space left on device\n")


def test_terminal_of_few_letters(command, raw_server):
    server = raw_server(events("fromage préféré 🧀"))
    few = {"env": {"PYTHONIOENCODING": "latin-1"}, "encoding": "latin-1"}
    chat = command("chat", "x", "--endpoint", server.url, **few)
    assert chat.finish() == (0, "fromage préféré ?\n", "")


def test_a_model_in_this_process(command, baby):
    asked = ("chat", "hello", "--endpoint", f"local:{baby}", "--max-tokens", 20, "--seed", 1)
    code, output, errors = command(*asked).finish()
    assert (code, errors) == (0, "")
    assert len(output.strip()) > 10
    assert command(*asked).finish() == (0, output, "")


def test_ctrl_c_ends_a_model_in_this_process(command, baby):
    chat = command("chat", "hello", "--endpoint", f"local:{baby}")
    chat.stdout.read(1)
    chat.interrupt()
    code, output, errors = chat.finish()
    assert (code, output[-1:], errors) == (130, "\n", "")


@pytest.mark.weights
def test_the_default_model(command):
    chat = command("chat", "What is the best French cheese?", "--max-tokens", 30, "--temperature", 0)
    code, output, errors = chat.finish()
    assert (code, errors) == (0, "")
    assert "cheese" in output.lower()
