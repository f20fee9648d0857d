"""The plugin in runs of pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

PLUGIN = "mistral_client.testing.plugin"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(pytester, monkeypatch):
    """Run a file of tests in this process, with nothing but our plugin and those that are named."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(test, *arguments, plugins=()):
        pytester.makepyfile(test_it=test)
        named = [option for plugin in (PLUGIN, *plugins) for option in ("-p", plugin)]
        return pytester.runpytest_inprocess("-Werror", *named, *arguments)

    return run


ASKED = """
def ask(text="hello"):
    from mistral_client import MistralClient
    with MistralClient(max_retries=0) as client:
        return client.chat(model="m", messages=[{"role": "user", "content": text}]).choices[0].message.content
"""


def test_each_test_has_a_server_of_its_own(run):
    result = run(
        ASKED
        + """
import os
import pytest

@pytest.fixture
def scripted(mistral_server):
    mistral_server.reply("Paris.")

@pytest.mark.usefixtures("scripted")
def test_one():
    assert ask() == "Paris."

def test_other(mistral_server):
    mistral_server.reply("Rome.")
    assert ask() == "Rome."
    mistral_server.assert_called(1)
    assert os.environ["MISTRAL_ENDPOINT"] == mistral_server.url
    assert os.environ["MISTRAL_API_KEY"] == "key-of-a-test"

def test_none():
    assert "MISTRAL_ENDPOINT" not in os.environ
"""
    )
    result.assert_outcomes(passed=3)


def test_what_is_not_scripted_fails_the_test_that_does_not_care(run):
    result = run(
        ASKED
        + """
def test_swallows(mistral_server):
    mistral_server.reply("sunny", when="weather")
    try:
        ask("Who?")
    except Exception:
        pass

def test_dynamic(request):
    request.getfixturevalue("mistral_server")
    try:
        ask()
    except Exception:
        pass

def test_after(mistral_server):
    mistral_server.reply("x")
    ask()
"""
    )
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: mistral_server could not answer POST /v1/chat/completions m 'Who?': no reply is scripted*",
            "E*reply('sunny'), when='weather'",
            "*Captured mistral_server call*",
            "  POST /v1/chat/completions m 'Who?' -> 400",
        ]
    )


def test_a_test_that_fails_says_what_was_asked(run):
    result = run(
        ASKED
        + """
def test_fails(mistral_server):
    mistral_server.reply("Rome.")
    assert ask() == "Paris."
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Captured mistral_server call*", "  POST /v1/chat/completions m 'hello' -> 200"])


def test_what_is_asked_at_the_very_end_counts(run):
    result = run(
        ASKED
        + """
import pytest

@pytest.fixture
def late(mistral_server):
    yield
    try:
        ask()
    except Exception:
        pass

def test_late(late):
    pass
"""
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E*could not answer*"])


RECORDED = (
    ASKED
    + """
import pytest

@pytest.mark.parametrize("city", ["Paris", "New York/USA"])
def test_recorded(mistral_server, city):
    mistral_server.replay()
    assert ask(city).startswith("It is")
"""
)


def test_recordings_are_made_and_used(run, pytester, monkeypatch, mistral_server):
    run(RECORDED).assert_outcomes(failed=2)
    mistral_server.reply(lambda request: f"It is {request.text}.")
    monkeypatch.setenv("MISTRAL_API_KEY", "sk-the-real-one-0123456789")
    run(RECORDED, "--mistral-record").assert_outcomes(passed=2)
    mistral_server.assert_called(2)
    monkeypatch.setenv("MISTRAL_ENDPOINT", "http://127.0.0.1:9")
    run(RECORDED).assert_outcomes(passed=2)
    mistral_server.assert_called(2)
    files = {path.name: path.read_text() for path in (pytester.path / "recordings").iterdir()}
    assert files.keys() == {"test_it.test_recorded-Paris-.jsonl", "test_it.test_recorded-New-York-USA-.jsonl"}
    assert not any("sk-the-real" in text for text in files.values())


def test_a_recording_by_its_name_is_beside_the_test(run, pytester, monkeypatch, mistral_server):
    mistral_server.reply("It is.")
    named = RECORDED.replace("replay()", "replay('cities/all.jsonl', endpoint=None)").replace(', "New York/USA"', "")
    run(named, "--mistral-record").assert_outcomes(passed=1)
    assert (pytester.path / "cities" / "all.jsonl").is_file()
    run(named).assert_outcomes(passed=1)


ASYNCHRONOUS = """
import pytest
from mistral_client import MistralAsyncClient

HELLO = [{"role": "user", "content": "hello"}]

async def ask(client):
    chunks = [chunk async for chunk in client.chat_stream(model="m", messages=HELLO)]
    return "".join(chunk.choices[0].delta.content for chunk in chunks)

@pytest.mark.MARK
async def test_async(mistral_server):
    mistral_server.fail(429, retry_after=0.01)
    mistral_server.reply("Paris.")
    async with MistralAsyncClient() as client:
        assert await ask(client) == "Paris."
    async with mistral_server.async_client() as client:
        assert await ask(client) == "Paris."

@pytest.mark.MARK
async def test_not_scripted(mistral_server):
    async with mistral_server.async_client() as client:
        with pytest.raises(Exception):
            await ask(client)
"""


@pytest.mark.parametrize(
    ("mark", "plugin", "runs"), [("asyncio", "pytest_asyncio.plugin", 1), ("anyio", "anyio.pytest_plugin", 2)]
)
def test_coroutines(run, mark, plugin, runs):
    options = ["-o", "asyncio_default_fixture_loop_scope=function"] if mark == "asyncio" else []
    result = run(ASYNCHRONOUS.replace("MARK", mark), *options, plugins=[plugin])
    result.assert_outcomes(passed=runs, failed=runs)


def test_in_several_processes(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        ASKED
        + """
import pytest

@pytest.mark.parametrize("number", range(8))
def test_it(mistral_server, number):
    mistral_server.reply(str(number))
    assert ask() == str(number)
"""
    )
    result = pytester.runpytest_subprocess("-p", "xdist.plugin", "-p", PLUGIN, "-n", "2", timeout=60)
    result.assert_outcomes(passed=8)


def test_the_entry_point_is_the_plugin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}
    assert import_module(PLUGIN).mistral_server


LIGHT = """
import sys
import mistral_client.testing.plugin
heavy = {"httpx", "pydantic", "anyio", "h11", "numpy", "fastapi", "mistral_client.client", "mistral_client.testing.server"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from mistral_client.testing import MistralServer, Request
with MistralServer() as server:
    server.reply("x")
    server.client().chat(model="m", messages=[{"role": "user", "content": "hello"}])
heavy = {"fastapi", "starlette", "uvicorn", "numpy", "jinja2", "xllamacpp", "gguf", "psutil"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_a_run_without_the_fixture_imports_nothing_and_one_with_it_little():
    subprocess.run([sys.executable, "-W", "error", "-c", LIGHT], check=True, timeout=60, env=os.environ)


def test_the_public_names():
    testing = import_module("mistral_client.testing")
    assert testing.__all__ == ["MistralServer", "Request"]
    for name in testing.__all__:
        assert getattr(testing, name).__doc__
    with pytest.raises(AttributeError, match="nonsense"):
        _ = testing.nonsense
