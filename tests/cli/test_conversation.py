"""`mistral-client chat` at a terminal."""

import os
import subprocess
import time

import pytest

from ..conftest import http
from .conftest import events, sent

pty = pytest.importorskip("pty")


class Terminal:
    """A terminal with the command in it."""

    def __init__(self, command, *arguments):
        self._ours, its = pty.openpty()
        self.process = command("chat", *arguments, stdin=its, stdout=its, stderr=its, env={"TERM": "dumb"})
        os.close(its)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def expect(self, text: str) -> str:
        """What is shown up to a text; an end of the process ends it too."""
        seen = b""
        while text.encode() not in seen:
            try:
                seen += os.read(self._ours, 1)
            except OSError:
                pytest.fail(f"ended after {seen.decode()!r}")
        return seen.decode()

    def rest(self) -> str:
        seen = b""
        try:
            while more := os.read(self._ours, 1024):
                seen += more
        except OSError:  # how Linux says that nobody holds the other side any more
            pass
        self.process.wait(10)
        return seen.decode()

    def close(self) -> None:
        os.close(self._ours)


@pytest.fixture
def terminal(command):
    opened = []

    def open_terminal(*arguments):
        opened.append(Terminal(command, *arguments))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


def contents(request: bytes) -> list[str]:
    return [message["content"] for message in sent(request)["messages"]]


def test_what_was_said_is_sent_again(terminal, raw_server):
    server = raw_server(events("Brie", ".\n"), events("Because."), events("Hello."))
    shown = terminal("--endpoint", server.url, "--system", "s")
    shown.expect("> ")
    shown.type("Which?\n")
    assert shown.expect("> ").endswith("Brie.\r\n> ")
    shown.type("\n")  # an empty line asks nothing
    shown.expect("> ")
    shown.type("Why?\n")
    assert shown.expect("> ").endswith("Because.\r\n> ")
    shown.type("/clear\n")
    shown.expect("> ")
    shown.type("Hello\n")
    shown.expect("> ")
    shown.type("/exit\n")
    assert "Traceback" not in shown.rest()
    assert shown.process.returncode == 0
    assert list(map(contents, server.requests)) == [
        ["s", "Which?"],
        ["s", "Which?", "Brie.\n", "Why?"],
        ["s", "Hello"],
    ]


def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(terminal, raw_server):
    server = raw_server(events("A long", 60.0, "story"), events("Fine."))
    shown = terminal("--endpoint", server.url)
    shown.expect("> ")
    shown.type("Tell\n")
    shown.expect("A long")
    shown.process.interrupt()
    shown.expect("> ")
    shown.type("Enough\n")
    shown.expect("Fine.\r\n> ")
    shown.type("\x04")
    assert "Traceback" not in shown.rest()
    assert shown.process.returncode == 0
    assert contents(server.requests[1]) == ["Tell", "A long", "Enough"]


def test_ctrl_c_at_the_prompt_ends(terminal):
    shown = terminal("--endpoint", "http://127.0.0.1:9")
    shown.expect("> ")
    time.sleep(0.3)  # readline shows its prompt a moment before it listens
    shown.process.interrupt()
    assert "Traceback" not in shown.rest()
    assert shown.process.returncode == 130


def test_an_error_is_shown_and_its_turn_forgotten(terminal, raw_server):
    server = raw_server([http(b'{"message": "no"}', "400 Bad Request")], events("Yes."))
    shown = terminal("--endpoint", server.url)
    shown.expect("> ")
    shown.type("one\n")
    assert "error: no (HTTP 400" in shown.expect("> ")
    shown.type("two\n")
    shown.expect("Yes.\r\n> ")
    shown.type("\x04")
    shown.rest()
    assert contents(server.requests[1]) == ["two"]


def test_a_model_cannot_steer_the_terminal(terminal, raw_server):
    shown = terminal("--endpoint", raw_server(events("\x1b]52;c;cm0=\x07a\tb\x1b[2J\r\x9bc 👩\u200d🍳")).url)
    shown.expect("> ")
    shown.type("x\n")
    assert "]52;c;cm0=a\tb[2Jc 👩\u200d🍳\r\n> " in shown.expect("🍳\r\n> ")
    shown.type("/exit\n")
    shown.rest()


def test_a_model_in_this_process(terminal, baby):
    # At random, the baby may say what looks like the prompt.
    shown = terminal("--endpoint", f"local:{baby}", "--max-tokens", 10, "--temperature", 0)
    for _ in range(2):
        shown.expect("> ")
        shown.type("hello\n")
    shown.expect("> ")
    shown.type("\x04")
    shown.rest()
    assert shown.process.returncode == 0


def test_a_file_gets_the_answers_only(command, raw_server, tmp_path):
    server = raw_server(events("Brie."))
    ours, its = pty.openpty()
    with (tmp_path / "answers").open("w") as file:
        chat = command("chat", "--endpoint", server.url, stdin=its, stdout=file, stderr=subprocess.PIPE)
        os.close(its)
        chat.read_until(chat.stderr, "> ")
        os.write(ours, b"Which?\n")
        chat.read_until(chat.stderr, "> ")
        os.write(ours, b"\x04")
        assert chat.wait(30) == 0
    os.close(ours)
    assert (tmp_path / "answers").read_text() == "Brie.\n"
