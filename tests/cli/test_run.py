"""`mistral-client run SCRIPT`"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mistral_client.server.weights.baby import write_gguf

from ..conftest import http
from .conftest import events, sent

PROGRAMS = sorted((Path(__file__).parent.parent / "programs").glob("*.py"))


@pytest.fixture
def script(tmp_path):
    """Writes a program."""

    def write(text: str) -> Path:
        path = tmp_path / "scripts" / "program.py"
        path.parent.mkdir()
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="module")
def terse(tmp_path_factory):
    """The baby never ends by itself; in this one its context is soon full."""
    return write_gguf(tmp_path_factory.mktemp("terse") / "terse.gguf", context=128)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_programs_of_the_early_client(command, terse, program):
    code, output, errors = command("run", "--endpoint", f"local:{terse}", program).finish()
    assert (code, errors) == (0, "")
    assert len(output) > 5


def test_the_endpoint_is_that_of_the_command(command, raw_server):
    server = raw_server(events("Brie."))
    program = next(path for path in PROGRAMS if path.stem == "chat_stream")
    by_option = command("run", "--endpoint", server.url, program).finish()
    by_environment = command("run", program, env={"MISTRAL_ENDPOINT": server.url}).finish()
    assert by_option == by_environment
    assert by_option[:2] == (0, by_option[1])
    assert "Brie." in by_option[1]
    assert sent(server.requests[0])["model"] == "mistral-tiny"


def test_else_it_is_local(command, script):
    path = script("import os; print(os.environ['MISTRAL_ENDPOINT'])")
    assert command("run", path).finish() == (0, "local\n", "")


def test_a_local_model_needs_no_key_of_the_user_s(command, script):
    path = script("import os; print(os.environ.get('MISTRAL_API_KEY'))")
    assert command("run", path).finish() == (0, "local\n", "")
    assert command("run", "--endpoint", "local:x.gguf", path).finish() == (0, "local\n", "")
    assert command("run", path, env={"MISTRAL_API_KEY": "mine"}).finish() == (0, "mine\n", "")
    assert command("run", "--endpoint", "https://api.mistral.ai", path).finish() == (0, "None\n", "")


def test_the_script_finds_itself_as_python_would_have_it(command, script):
    path = script(
        "import sys, beside\n"
        "print(__name__, sys.modules['__main__'].__file__ == __file__)\n"
        "print(sys.argv[1:], sys.argv[0].endswith('program.py'))\n"
        "print(sys.path[0])\n"
        "print(__file__)\n"
    )
    (path.parent / "beside.py").touch()
    arguments = ["--help", "-x", "--endpoint", "theirs", "--", "-"]
    ran = command("run", "scripts/program.py", *arguments, cwd=path.parent.parent, env=_found_from_anywhere())
    code, output, errors = ran.finish()
    assert (code, errors) == (0, "")
    assert output.splitlines() == ["__main__ True", f"{arguments} True", str(path.parent), str(path)]


def _found_from_anywhere() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}


@pytest.mark.parametrize(
    ("text", "code", "errors"),
    [
        ("raise SystemExit", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("raise SystemExit('bye')", 1, "bye\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_exit_codes_are_the_script_s(command, script, text, code, errors):
    assert command("run", script(text)).finish() == (code, "", errors)


@pytest.mark.parametrize(
    "text",
    [
        "def broken():\n    1/0\nbroken()\n",
        "x = = 1\n",
        "import json\ntry:\n    1/0\nexcept ZeroDivisionError:\n    json.loads('{')\n",
        "import sys\nsys.excepthook = lambda *_: print('hooked', file=sys.stderr)\n1/0\n",
        "import asyncio\nasync def main():\n    raise asyncio.CancelledError\nasyncio.run(main())\n",
    ],
)
def test_errors_look_as_python_shows_them(command, script, text):
    path = script(text)
    ran = command("run", path).finish()
    python = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=30)
    assert ran == (python.returncode, python.stdout, python.stderr)


def test_ctrl_c(command, script):
    ran = command("run", script("import time; print('here', flush=True); time.sleep(60)"))
    ran.read_until(ran.stdout, "here\n")
    ran.interrupt()
    assert ran.finish() == (130, "", "")


def test_an_error_of_the_client_is_the_script_s_to_show(command, script, raw_server):
    server = raw_server([http(b'{"message": "no"}', "400 Bad Request")])
    path = script("from mistralai.client import MistralClient\nMistralClient().list_models()\n")
    code, output, errors = command("run", "--endpoint", server.url, path).finish()
    assert (code, output) == (1, "")
    assert errors.startswith(f'Traceback (most recent call last):\n  File "{path}", line 2, in <module>\n')
    assert "InvalidRequestError: no (HTTP 400" in errors


def test_a_script_that_is_not_there(invoke, tmp_path):
    for path, reason in ((tmp_path / "none.py", "No such file or directory"), (tmp_path, "Is a directory")):
        result = invoke("run", path)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"error: '{path}' cannot be opened: {reason}\n"


def test_unknown_options_before_the_script_are_wrong_usage(invoke):
    assert invoke("run", "--bogus", "x.py").exit_code == 2
