"""Every command, option, environment variable and call that the documentation names is there."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import shlex
import tomllib
from functools import cache

import pytest

from mistral_client import MistralAsyncClient, MistralClient
from mistral_client._calls import ChatOptions, EmbeddingOptions, FIMOptions
from tests.test_docs import FENCED, PAGES, ROOT, blocks, name


def test_the_commands_exist():
    seen = set()
    for page in PAGES:
        code = [line for _, block in blocks(page, "sh") for line in block.splitlines()]
        prose = re.findall(r"`(mistral-client \S[^`]*)`", FENCED.sub("", page.read_text()))
        for line in [*code, *prose]:
            # Of `bash|zsh|fish` the first is tried.
            words = shlex.split(re.sub(r"(\w)\|[\w|]+", r"\1", re.split(r" [<>|] ", line)[0]), comments=True)
            while words and (words[0] == "export" or re.match(r"[A-Z_]+=", words[0])):
                del words[0]
            if words:
                assert words[0] in COMMANDS, (name(page), line)
                seen |= {(words[0], COMMANDS[words[0]](*words[1:]))}
    assert {command for program, command in seen if program == "mistral-client"} >= set(own_program().commands)


def own_program():
    return pytest.importorskip("mistral_client.cli.program").program


def mistral_client(*words):
    """A command of ours with options that it has; placeholders such as COMMAND are for a person."""
    click = pytest.importorskip("click")
    command, first = own_program(), words[0] if words else None
    while words and isinstance(command, click.Group) and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    if command is own_program():
        assert first in {"COMMAND", None} or first.startswith("-"), words
    # With its parent, as always: a command keeps the help option that it is first seen with.
    parent = click.Context(own_program(), **own_program().context_settings)
    context = click.Context(command, parent, **command.context_settings)
    given, _, _ = command.make_parser(context).parse_args(list(words))
    for param in command.params:
        if param.name in given and not isinstance(param.type, click.Path | click.File) and param.nargs == 1:
            param.type_cast_value(context, given[param.name])
    return first


def make(target, *_):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def pip(command, *words):
    assert command in {"install", "download"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named in re.findall(r"mistral-client\[([^\]]+)\]", " ".join(words)):
        assert set(named.split(",")) <= set(extras), named


def uvicorn(*words):
    """An application in this package, or one of the examples."""
    (application,) = (word for word in words if re.fullmatch(r"[\w.]+:\w+", word))
    module, _, attribute = application.partition(":")
    if module.startswith("mistral_client"):
        assert hasattr(importlib.import_module(module), attribute)
    else:
        assert re.search(rf"^{attribute} = ", (ROOT / "examples" / f"{module}.py").read_text(), re.MULTILINE)


def curl(*words):
    """A route of the server or of an example."""
    url = next(word for word in words if word.startswith("http"))
    path = re.sub(r"https?://[^/]*|\?.*", "", url)
    applications = [ROOT / "mistral_client" / "server" / "app.py", *(ROOT / "examples").glob("*_app.py")]
    assert any(f'"{path}"' in application.read_text() for application in applications), path


def python(*words):
    """An example, or a program of the reader's own."""
    for file in (word for word in words if word.startswith("examples/")):
        assert (ROOT / file).is_file(), file


def echo(*words):
    """What a shell is told to run at its start."""
    for inner in re.findall(r"\$\(mistral-client ([^)]*)\)", " ".join(words)):
        mistral_client(*inner.split())


def pytest_(*words):
    """Options of our own."""
    for option in (word for word in words if word.startswith("--mistral")):
        assert f'"{option}"' in source(), option


COMMANDS = {
    "mistral-client": mistral_client,
    "make": make,
    "pip": pip,
    "uvicorn": uvicorn,
    "curl": curl,
    "python": python,
    "jupyter": python,
    "echo": echo,
    "pytest": pytest_,
}


@cache
def source():
    files = [ROOT / "Makefile", *(ROOT / "mistral_client").rglob("*.py")]
    return "\n".join(path.read_text() for path in files)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_variables_and_names_exist(page):
    text = page.read_text()
    for variable in set(re.findall(r"\bMISTRAL_[A-Z_]+\b", text)):
        assert re.search(rf"\b{variable}\b", source()), variable
    for dotted in set(re.findall(r"`(mistral_client(?:\.\w+)+)`", text)):
        parts = dotted.split(".")
        value = importlib.import_module(parts[0])
        for at, part in enumerate(parts[1:], start=2):
            module = ".".join(parts[:at])
            is_package = hasattr(value, "__path__")
            if not is_package or importlib.util.find_spec(module) is None:
                value = getattr(value, part)
                continue
            try:
                value = importlib.import_module(module)
            except ImportError:  # of an extra that is not here
                break


OPTIONS = {
    "chat": ChatOptions,
    "chat_stream": ChatOptions,
    "embeddings": EmbeddingOptions,
    "completion": FIMOptions,
    "completion_stream": FIMOptions,
}


def test_the_calls_that_others_become_exist():
    """The right-hand column of the migration page, as far as it is Python."""
    rows = re.findall(r"^\| .* \| (.*) \|$", (ROOT / "docs" / "migration.md").read_text(), re.MULTILINE)
    seen = set()
    for code in re.findall(r"`([^`]+)`", "\n".join(rows)):
        try:
            calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
        except SyntaxError:
            continue
        for call in calls:
            target = ast.unparse(call.func)
            kind = MistralAsyncClient if "async" in target.lower() else MistralClient
            if target in {"MistralClient", "MistralAsyncClient"}:
                method = kind.__init__
            elif target.startswith(("client.", "async_client.")):
                method = getattr(kind, target.partition(".")[2])
            else:
                continue
            known = {*inspect.signature(method).parameters}
            known |= {*OPTIONS.get(method.__name__, ChatOptions).__annotations__} if "options" in known else set()
            assert {keyword.arg for keyword in call.keywords} <= known, code
            seen.add(method.__name__)
    assert seen >= {*OPTIONS, "list_models", "retrieve_model", "delete_model", "__init__"}


@pytest.mark.parametrize("command", ["chat", "serve"])
def test_options_named_in_prose_exist(command):
    program = pytest.importorskip("mistral_client.cli.program").program
    options = {option for param in program.commands[command].params for option in param.opts}
    section = re.search(rf"^## {command}\n(.*?)^## ", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE | re.DOTALL)
    text = section[1] if command == "chat" else (ROOT / "docs" / "server.md").read_text().split("## Routes")[0]
    named = set(re.findall(r"`(--[a-z-]+)", text))
    assert named == {option for option in options if option.startswith("--")}
