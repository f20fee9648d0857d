"""The documentation is true: its programs run, its links lead somewhere, its tables and drawings are those of the code.

A block of Python runs after those above it in its file. One marked `python notest` is only compiled.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mistral_client import exceptions
from mistral_client._retry import RetryPolicy
from mistral_client.constants import RETRY_STATUS_CODES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    """Pairs of a fence's words and its code, with the lines above it left empty, so that tracebacks tell the line."""
    text = page.read_text()
    for match in FENCED.finditer(text):
        info = match["info"].split()
        if info[:1] == [language]:
            yield info, "\n" * text.count("\n", 0, match.start("code")) + match["code"]


def name(page):
    return page.relative_to(ROOT).as_posix()


def with_python(pages):
    return [page for page in pages if any(blocks(page, "python"))]


@pytest.fixture
def _no_trace_in_modules():
    """`install_as_mistralai` is for a whole process; here it lasts for a test."""
    before = set(sys.modules)
    yield
    for module in set(sys.modules) - before:
        if module.split(".")[0] == "mistralai":
            del sys.modules[module]


@pytest.mark.weights
@pytest.mark.usefixtures("_no_trace_in_modules")
@pytest.mark.parametrize("page", with_python(PAGES), ids=name)
def test_python_runs(page, monkeypatch, tmp_path):
    monkeypatch.setenv("MISTRAL_ENDPOINT", "local")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for info, code in blocks(page, "python"):
        program = compile(code, str(page), "exec", dont_inherit=True)
        if "notest" not in info:
            exec(program, namespace)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any("def test_" in code for _, code in blocks(page, "python"))], ids=name
)
def test_tests_pass(page, tmp_path):
    """Where blocks hold tests, they are tests."""
    codes = [code.strip("\n") for info, code in blocks(page, "python") if "notest" not in info]
    (tmp_path / "test_page.py").write_text("\n\n".join(codes))
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-Werror",
            "-p",
            "mistral_client.testing.plugin",
            "-p",
            "no:asyncio",
            ".",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout
    assert f"{sum(code.count('def test_') for code in codes)} passed" in ran.stdout


def test_few_blocks_are_left_out():
    infos = [info for page in PAGES for info, _ in blocks(page, "python")]
    assert len(infos) > 15
    assert sum("notest" in info for info in infos) <= 2


def test_the_commands_exist():
    program = pytest.importorskip("mistral_client.cli.program").program
    makefile = (ROOT / "Makefile").read_text()
    seen = set()
    for page in PAGES:
        for _, code in blocks(page, "sh"):
            for words in (line.partition("#")[0].split() for line in code.splitlines()):
                if "mistral-client" in words and words[0] != "pip":
                    command, *rest = words[words.index("mistral-client") + 1 :]
                    assert command in program.commands, (name(page), words)
                    named = program.commands[command]
                    if rest and rest[0] in getattr(named, "commands", ()):
                        named, rest = named.commands[rest[0]], rest[1:]
                    options = {option for param in named.params for option in param.opts}
                    # What follows a script is the script's own.
                    given = rest[: next((i for i, word in enumerate(rest) if word.endswith(".py")), None)]
                    assert {word for word in given if word.startswith("--")} <= options, (name(page), words)
                    seen.add(command)
                if words[:1] == ["make"]:
                    assert f"\n{words[1]}:" in makefile, words
    assert seen == set(program.commands)


@pytest.mark.parametrize("command", ["chat", "serve"])
def test_options_named_in_prose_exist(command):
    program = pytest.importorskip("mistral_client.cli.program").program
    options = {option for param in program.commands[command].params for option in param.opts}
    section = re.search(rf"^## {command}\n(.*?)^## ", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE | re.DOTALL)
    text = section[1] if command == "chat" else (ROOT / "docs" / "server.md").read_text().split("## Routes")[0]
    named = set(re.findall(r"`(--[a-z-]+)", text))
    assert named == {option for option in options if option.startswith("--")}


def anchors(page):
    """The anchors that GitHub and Sphinx give to a page's headings."""
    text = FENCED.sub("", page.read_text())
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    text = FENCED.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        to = page.parent / path if path else page
        assert to.exists(), target
        if anchor:
            assert anchor in set(anchors(to)), target


def drawn(kind, depth=0):
    """The tree below a class: names, with what they are besides, by depth and in the order of definition."""
    others = [base.__name__ for base in kind.__bases__[1:]]
    names = [name for name, value in vars(exceptions).items() if value is kind]
    yield depth, " = ".join(names) + (f" (also {', '.join(others)})" if others else "")
    for child in kind.__subclasses__():
        if child.__module__ == exceptions.__name__ and child.__bases__[0] is kind:
            yield from drawn(child, depth + 1)


def test_the_drawing_of_the_errors_is_the_tree():
    picture = next(code for _, code in blocks(ROOT / "docs" / "errors.md", "text")).strip().splitlines()
    read = [(re.search(r"\w", line).start() // 4, line.lstrip("│├└─ ")) for line in picture]
    assert read == list(drawn(exceptions.MistralException))


def test_the_table_of_the_errors_is_whole():
    text = (ROOT / "docs" / "errors.md").read_text()
    table = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", text, re.MULTILINE)
    retried = {kind: not said.startswith("no") for kind, said in table if hasattr(exceptions, kind)}
    kinds = [vars(exceptions)[kind] for _, line in drawn(exceptions.MistralException) for kind in line.split()[:1]]
    abstract = {exceptions.MistralException, exceptions.MistralAPIException}
    assert retried == {kind.__name__: kind.retryable for kind in kinds if kind not in abstract}


def test_the_figures_of_retrying_are_those_of_the_policy():
    text = " ".join((ROOT / "docs" / "errors.md").read_text().split())
    policy = RetryPolicy()
    codes = [*map(str, sorted(RETRY_STATUS_CODES))]
    assert f"the statuses {', '.join(codes[:-1])} and {codes[-1]}" in text
    assert f"it is {policy.max_retries} unless" in text
    assert f"min({policy.first} · 2ⁿ, {policy.longest:g}) seconds" in text
    assert f"more than {policy.patience:g} seconds there is no retry" in text


def test_the_rooms_are_the_tree():
    rooms = next(code for _, code in blocks(ROOT / "docs" / "design.md", "text"))
    drawn_files = set(re.findall(r"\b(\w+\.py)\b", rooms))
    files = {path.name for path in (ROOT / "mistral_client").rglob("*.py")}
    assert drawn_files == files
    folders = {path.parent.name for path in (ROOT / "mistral_client").rglob("*.py")}
    assert folders <= set(re.findall(r"(\w+)/", rooms))


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(item for extra in project["project"]["optional-dependencies"].values() for item in extra),
    ]
    names = {re.match(r"[\w.-]+", item)[0].lower() for item in wanted} - {"mistral-client"}
    table = set(re.findall(r"^\| ([a-z][\w-]*) \| .{5,} \|$", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE))
    assert names <= table
