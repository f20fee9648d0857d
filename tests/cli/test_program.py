"""The command as a whole: help, version, and what is missing."""

import re
import subprocess
import sys

import pytest

import mistral_client

COMMANDS = ["chat", "completion", "deploy", "embed", "migrate", "models", "run", "serve"]


def test_help_names_every_command(invoke):
    result = invoke("--help")
    assert result.exit_code == 0
    assert re.findall(r"^  (\w+)  ", result.output.partition("Commands:")[2], re.MULTILINE) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(invoke, command):
    short, long = invoke(command, "-h"), invoke(command, "--help")
    assert (short.exit_code, long.exit_code) == (0, 0)
    assert short.output == long.output
    assert f"mistral-client {command}" in short.output.partition("Examples:")[2]


def test_version(invoke):
    assert invoke("--version").output == f"mistral-client, version {mistral_client.__version__}\n"


def test_unknown_command_is_wrong_usage(invoke):
    assert invoke("sing").exit_code == 2


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30)


def test_help_imports_neither_client_nor_server():
    ran = python(
        "import sys, mistral_client.cli\n"
        "sys.argv[1:] = ['chat', '--help']\n"
        "try: mistral_client.cli.main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('fastapi', 'httpx', 'numpy', 'pydantic', 'uvicorn') if name in sys.modules])\n"
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_without_click_it_says_what_to_install():
    ran = python("import sys; sys.modules['click'] = None; import mistral_client.cli; mistral_client.cli.main()")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "the command line needs: pip install 'mistral-client[local]'\n"
