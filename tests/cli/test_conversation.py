"""`mistral-client chat` at a terminal."""

import json
import os
import stat
import subprocess
import time

import pytest

from ..conftest import http
from .conftest import events, sent

pty = pytest.importorskip("pty")


class Terminal:
    """A terminal with the command in it."""

    def __init__(self, command, *arguments, **env):
        self._ours, its = pty.openpty()
        env = {"TERM": "dumb", **env}
        self.process = command("chat", *arguments, stdin=its, stdout=its, stderr=its, env=env)
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

    def ask(self, text: str) -> str:
        """What is shown for a line, up to the next prompt; there must be one before."""
        self.type(f"{text}\n")
        self.expect(f"{text.splitlines()[-1]}\r\n")
        return self.expect("> ").removesuffix("> ")

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

    def open_terminal(*arguments, **env):
        opened.append(Terminal(command, *arguments, **env))
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


def listed(*names: str) -> list[bytes]:
    data = [{"id": name, "object": "model"} for name in names]
    return [http(json.dumps({"object": "list", "data": data}).encode())]


def test_commands(terminal, raw_server, tmp_path):
    models = listed("mistral-small", "large")
    refusal = [http(b'{"message": "no"}', "400 Bad Request")]
    server = raw_server(
        events("Brie."), models, models, models, refusal, events("Comté."), events("Hm."), events("Oh.")
    )
    shown = terminal("--endpoint", server.url)
    shown.expect("> ")
    assert "Brie." in shown.ask("Which?")

    told = shown.ask("/help")
    for command in ("/system", "/model", "/save", "/load", "/clear", "/new", "/help", "/quit", '"""'):
        assert command in told
    assert shown.ask("/etc/passwd").startswith("error: there is no command /etc/passwd; /help tells")
    assert shown.ask("/save").startswith("error: it is used as /save FILE")
    assert shown.ask("/clear the table").startswith("error: it is used as /clear, /new")

    assert shown.ask("/model") == "* mistral-small\r\n  large\r\n"
    assert shown.ask("/model tiny").startswith("error: there is no model tiny;")
    assert shown.ask("/model large") == ""
    assert shown.ask("/model other").startswith("error: no (HTTP 400")
    assert shown.ask("/system Be brief.") == ""
    assert "Comté." in shown.ask(" /or?")

    file = tmp_path / "cheese.json"
    assert shown.ask(f"/save {file}") == f"saved in {file}\r\n"
    assert shown.ask("/new") == ""
    assert "Hm." in shown.ask("Hello")
    assert shown.ask("/system") == ""
    assert shown.ask(f"/load {file}") == "5 messages, with large\r\n"
    assert "Oh." in shown.ask("Really?")
    shown.type("/quit\n")
    assert "Traceback" not in shown.rest()
    assert shown.process.returncode == 0

    asked = [sent(request) for request in server.requests if request.startswith(b"POST")]
    assert [each["model"] for each in asked] == ["mistral-small", "large", "large", "large"]
    said = [[message["content"] for message in each["messages"]] for each in asked]
    before = ["Be brief.", "Which?", "Brie.", "/or?"]
    assert said == [["Which?"], before, ["Be brief.", "Hello"], [*before, "Comté.", "Really?"]]
    assert json.loads(file.read_text()) == {
        "model": "large",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Which?"},
            {"role": "assistant", "content": "Brie."},
            {"role": "user", "content": "/or?"},
            {"role": "assistant", "content": "Comté."},
        ],
    }


def test_texts_of_several_lines(terminal, raw_server):
    server = raw_server(events("ok"))
    shown = terminal("--endpoint", server.url)
    shown.expect("> ")
    for text in ('"""a\n /b"""', '"""\nc\n\n  d\n"""', '"""e"""'):
        shown.ask(text)
    shown.type('"""given up\n')
    shown.expect(". ")
    time.sleep(0.3)  # readline shows its prompt a moment before it listens
    shown.process.interrupt()
    shown.expect("> ")
    shown.type("\x04")
    shown.rest()
    assert shown.process.returncode == 0
    assert [contents(request)[-1] for request in server.requests] == ["a\n /b", "c\n\n  d", "e"]


def test_history(terminal, raw_server, state):
    pytest.importorskip("readline")
    server = raw_server(events("ok"))
    up = "\x1b[A"
    shown = terminal("--endpoint", server.url, TERM="xterm")
    shown.expect("> ")
    shown.type("one\n")
    shown.expect("ok\r\n")
    shown.expect("> ")
    shown.type('"""two\nlines"""\n')
    shown.expect("ok\r\n")
    shown.expect("> ")
    shown.type("\x1b[200~pasted\nlines\x1b[201~\n")
    shown.expect("ok\r\n")
    shown.expect("> ")
    shown.type("\x04")
    shown.rest()
    file = state / "history.jsonl"
    assert [json.loads(line) for line in file.read_text().splitlines()] == ["one", "two\nlines", "pasted\nlines"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    for options, recalled in ((["--no-history"], "none"), ([], "two\nlines")):
        shown = terminal("--endpoint", server.url, *options, TERM="xterm")
        shown.expect("> ")
        shown.type(f"{up}{up}{'none' * bool(options)}\n")
        shown.expect("ok\r\n")
        shown.expect("> ")
        shown.type("\x04")
        shown.rest()
        assert contents(server.requests[-1])[-1] == recalled
    assert len(file.read_text().splitlines()) == 4


def test_markdown(terminal, raw_server):
    server = raw_server(events("# Cheese", "\n**Br", "ie**\x1b[31m", " and *more"))
    looks = "\x1b[1;4mCheese\x1b[0m\r\n\x1b[1mBrie\x1b[0m[31m and *more\r\n"
    as_written = "# Cheese\r\n**Brie**[31m and *more\r\n"
    for shown, options, env in (
        (looks, [], {"NO_COLOR": ""}),
        (as_written, ["--plain"], {}),
        (as_written, [], {"NO_COLOR": "1"}),
    ):
        chat = terminal("--endpoint", server.url, "x", *options, **{"TERM": "xterm", **env})
        assert chat.rest() == shown
