"""`mistral-client completion`, by the shells themselves."""

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

from mistral_client.cli import known_names
from mistral_client.cli.known_names import known_names as names_of

from .test_models import listed

TYPED = [
    ("mistral-client ch", "mistral-client chat "),
    ("mistral-client chat --no-h", "mistral-client chat --no-history "),
    ("mistral-client chat --load te", "mistral-client chat --load text.json "),
    ("mistral-client chat -m sm", "mistral-client chat -m small "),
    ("mistral-client embed te", "mistral-client embed text.json "),
    ("mistral-client run te", "mistral-client run text.json "),
    ("mistral-client serve --model te", "mistral-client serve --model text.json "),
]
"""What is typed before a tab, and what becomes of it."""


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"needs {shell}")


@pytest.fixture
def home(tmp_path, state):
    """A folder with a file in it, in which the shells find the command."""
    command = tmp_path / "bin" / "mistral-client"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mistral_client.cli "$@"\n')
    command.chmod(0o755)
    state.mkdir(parents=True)
    (state / "model_names.json").write_text(json.dumps({"local": ["small", "large"], "http://other": ["smart"]}))
    home = tmp_path / "home"
    home.mkdir()
    (home / "text.json").touch()
    return home


@pytest.fixture
def environment(home):
    found = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    path = os.pathsep.join([str(home.parent / "bin"), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": found, "HOME": str(home), "TERM": "dumb", "PS1": "$ "}


@needs("bash")
def test_bash(home, environment):
    pty = pytest.importorskip("pty")
    ours, its = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "-i"],
        **dict.fromkeys(("stdin", "stdout", "stderr"), its),
        cwd=home,
        env=environment,
        start_new_session=True,
    )
    os.close(its)
    guard = threading.Timer(60, shell.kill)
    guard.start()

    def expect(text: str) -> None:
        seen = b""
        while not seen.endswith(text.encode()):
            seen += os.read(ours, 1)

    try:
        os.write(ours, b"eval \"$(mistral-client completion bash)\"; echo rea''dy\n")
        expect("ready\r\n")
        for typed, completed in TYPED:
            expect("$ ")
            os.write(ours, f"{typed}\t".encode())
            expect(completed)
            os.write(ours, b"\x15\n")  # the line is given up
    finally:
        shell.kill()
        shell.wait()
        guard.cancel()
        os.close(ours)


@needs("fish")
@pytest.mark.parametrize(("typed", "completed"), TYPED[2:5])
def test_fish(home, environment, typed, completed):
    script = f"mistral-client completion fish | source; complete -C '{typed}'"
    ran = subprocess.run(
        ["fish", "--no-config", "-c", script], cwd=home, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout.split("\n"), ran.stderr) == ([completed.split()[-1], ""], "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(invoke, shell):
    script = invoke("completion", shell).stdout
    assert f"_MISTRAL_CLIENT_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, timeout=30)
        assert (checked.returncode, checked.stderr) == (0, "")


def completed(invoke, *words: str) -> list[str]:
    variables = {"_MISTRAL_CLIENT_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words)}
    result = invoke(env={**variables, "COMP_CWORD": str(len(words) - 1)})
    return [line.removeprefix("plain,") for line in result.stdout.split()]


def test_names_are_those_of_the_endpoint_when_it_was_asked(invoke, raw_server, monkeypatch):
    names = ["mistral-small-latest", "tiny"]
    assert completed(invoke, "mistral-client", "chat", "-m", "") == []
    server = raw_server(listed(*({"id": name} for name in [*names, "$(rm)", "*", "a b", "a\nb"])))
    invoke("models", "--endpoint", server.url)
    server.close()
    raw = raw_server(listed({"id": "new"}))
    invoke("models", "--endpoint", raw.url)
    asked = len(raw.requests)
    assert completed(invoke, "mistral-client", "chat", "--endpoint", server.url, "-m", "") == names
    assert completed(invoke, "mistral-client", "embed", "--endpoint", server.url, "--model", "t") == ["tiny"]
    assert completed(invoke, "mistral-client", "embed", "--endpoint", raw.url, "--model", "") == ["new"]
    # Of an endpoint that was never asked, all names are offered.
    assert completed(invoke, "mistral-client", "chat", "-m", "") == sorted([*names, "new"])
    monkeypatch.setenv("MISTRAL_ENDPOINT", raw.url)
    assert completed(invoke, "mistral-client", "chat", "-m", "") == ["new"]
    assert len(raw.requests) == asked


def test_some_endpoints_are_remembered(raw_server, state):
    from mistral_client import MistralClient

    server = raw_server(listed({"id": "m"}))
    with MistralClient(endpoint=server.url) as client:
        for number in range(known_names.ENDPOINTS + 2):
            known_names.offered(client, f"http://{number}")
    known = json.loads((state / "model_names.json").read_text())
    assert list(known) == [f"http://{number}" for number in range(2, known_names.ENDPOINTS + 2)]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "[" * 100_000])
def test_a_broken_file_is_passed_over(state, content):
    state.mkdir(parents=True)
    (state / "model_names.json").write_text(content)
    assert names_of("a") == []


def test_a_folder_that_cannot_be_written_is_passed_over(invoke, raw_server, state):
    state.parent.write_text("a file")
    result = invoke("models", "--endpoint", raw_server(listed({"id": "tiny"})).url)
    assert (result.exit_code, result.stderr) == (0, "")
