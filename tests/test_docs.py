"""The documentation is true: its programs run, its links lead somewhere, its tables and drawings are those of the code.

A block of Python runs after those above it in its file. Of what it prints, a block `text output` below it is an example.
One marked `python notest` is only compiled, `python notebook` runs as a cell of a notebook, and
`python file=examples/NAME.py` is that file, which tests/test_examples.py runs.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import difflib
import io
import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from mistral_client import exceptions
from mistral_client._retry import RetryPolicy
from mistral_client.constants import RETRY_STATUS_CODES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def fences(page):
    """The words of each fence, and its code with the lines above it left empty, so that tracebacks tell the line."""
    text = page.read_text()
    for match in FENCED.finditer(text):
        yield match["info"].split(), "\n" * text.count("\n", 0, match.start("code")) + match["code"]


def blocks(page, language):
    """Those of one language."""
    return ((info, code) for info, code in fences(page) if info[:1] == [language])


def name(page):
    return page.relative_to(ROOT).as_posix()


def with_python(pages):
    return [page for page in pages if any(blocks(page, "python"))]


@pytest.fixture
def _no_trace_in_the_process():
    """`install_as_mistralai` and the level of a log are for a whole process; here they last for a test."""
    before = set(sys.modules)
    log = logging.getLogger("mistral_client")
    level, handlers = log.level, [*log.handlers]
    yield
    log.setLevel(level)
    log.handlers[:] = handlers
    for module in set(sys.modules) - before:
        if module.split(".")[0] == "mistralai":
            del sys.modules[module]


@pytest.mark.weights
@pytest.mark.usefixtures("_no_trace_in_the_process")
@pytest.mark.parametrize("page", with_python(PAGES), ids=name)
def test_python_runs(page, monkeypatch, tmp_path):
    monkeypatch.setenv("MISTRAL_ENDPOINT", "local")
    monkeypatch.setenv("MISTRAL_LOCAL_THREADS", "1")  # beside other work more of them are slower
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    printed = ""
    for info, code in fences(page):
        if info[:1] == ["python"]:
            printed = run(info[1:], code, page, namespace)
        if info == ["text", "output"]:
            # Another processor rounds in another way, and an answer may part there.
            alike = difflib.SequenceMatcher(None, printed.split(), code.split(), autojunk=False).ratio()
            assert alike > 0.5, (printed, code)


def run(words, code, page, namespace):
    """Run a block and return what it has printed."""
    if words and words[0].startswith("file="):
        assert code.strip() == (ROOT / words[0].removeprefix("file=")).read_text().strip()
        return ""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if "notebook" in words else 0
    program = compile(code, str(page), "exec", flags, dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if "notest" not in words:
            coroutine = eval(program, namespace)
            if coroutine is not None:
                asyncio.run(coroutine)
    return printed.getvalue()


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


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_block_is_overlooked(page):
    """Every fence begins a line and is of a kind that something here looks at, or of words for a person."""
    infos = [info for info, _ in fences(page)]
    assert len(re.findall(r"^[ >]*(?:```|~~~)", page.read_text(), re.MULTILINE)) == 2 * len(infos)
    for language, *words in infos:
        assert language in {"python", "sh", "toml", "yaml", "json", "text", "{eval-rst}", "{toctree}"}
        if language == "python":
            assert words in ([], ["notest"], ["notebook"]) or re.fullmatch(r"file=examples/\w+\.py", *words)
    for _, code in blocks(page, "toml"):
        tomllib.loads(code)
    for _, code in blocks(page, "yaml"):
        assert list(yaml.safe_load_all(code))
    for _, code in blocks(page, "json"):
        json.loads(code)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_tables_are_tables(page):
    """A row below an empty line is shown as plain text."""
    for table in re.findall(r"(?:^\|.*\n)+", FENCED.sub("", page.read_text()), re.MULTILINE):
        head, rule, *rows = table.splitlines()
        assert re.fullmatch(r"\|( ?:?-+:? ?\|)+", rule), head
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in (head, *rows)} == {rule.count("|")}, head


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
