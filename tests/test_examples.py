"""Every example runs as it stands, offline, without a warning, and says what it is there to say.

Not here: `make compat` runs the one for LangChain, tests/test_fastapi_app.py the application.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

TESTED_APP = ROOT / "examples" / "tested_app"

OUTPUT = {
    "async_chat": r"(What is the capital of \w+\? -> \S.+\n){3}",
    "async_chat_stream": r"\w.*\bsea\b.*\n",
    "chat": r"\S.*Paris.*\nfinish reason: stop\ntokens: \d+ read, \d+ written\n",
    "chat_stream": r"\w.*\bsea\b.*\nfinish reason: (stop|length)\ntokens written: \d+\n",
    "conversation": r"system: .+\nuser: What is the sun\?\nassistant: .+\nuser: How hot is it\?\nassistant: .+\n",
    "count_tokens": (
        r"open-mixtral-8x7b: 22 tokens\nopen-mixtral-8x22b: 17 tokens\n"
        r"messages: the prompt has \d{5} tokens and the answer may have 500, .* has 32768\n"
    ),
    "embed_many": r"(\d of many\n){3}5 vectors in \d\d tokens\n",
    "embeddings": r"dimensions: 1024\nparaphrase: (0\.\d\d)\nstranger:   (-?0\.\d\d)\n",
    "errors": r"nothing was sent: temperature: .+\nthe server refused: .+no-such-model 400 1500\nnobody was there: .+ True\n",
    "hooks": r"POST /v1/chat/completions, request 1\nanswered with 200\n\S+: \d+ tokens, ended by \('(stop|length)',\), attempts: 1\n",
    "inspected_server": r"the page: 200 text/html; charset=utf-8\nOpen it in a browser, and press Enter to end.\n",
    "json_schema": r"Person\(name='.{1,20}', age=\d{1,3}\)\n",
    "langchain_chat": r"\S.*Paris.*\n\S.*Rome.*\n",
    "list_models": r"mixtral-8x135m mistralai\n(\S+ mistralai\n)+",
    "local_server": r"\S.*Paris.*\nthe server has ended\n",
    "modern": r"\S.*Paris.*\nTrue\nPerson\(name='.{0,20}', age=\d{1,3}\)\n400 Invalid model: no-such-model\n",
    "structured_output": r"Person\(name='.{1,20}', age=\d{1,3}\)\n({.*}\n)+",
    "tools": r"add\({.+}\) is .+\nthe model says: .*\n",
    "tracing": r"(chat mistral-small: \d+ tokens\n){2}a story: no tokens\n",
    "transformers_generate": r"\S.*Paris.*\n",
    "trio_chat": r"\S.*Paris.*\n",
}


def test_each_has_its_output_here():
    assert {path.stem for path in EXAMPLES} == {*OUTPUT, "fastapi_app"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_one_idea_takes_a_page_at_most(example):
    lines = example.read_text().splitlines()
    assert 5 <= len(lines) <= (50 if example.stem == "fastapi_app" else 30)
    assert lines[0].startswith('"""')


@pytest.mark.weights
@pytest.mark.parametrize("example", [path for path in EXAMPLES if path.stem in OUTPUT], ids=lambda path: path.stem)
def test_it_runs(example, tmp_path):
    if example.stem == "langchain_chat":
        pytest.skip("needs LangChain and a server that listens: make compat runs it")
    with_transformers = example.stem == "transformers_generate"
    if with_transformers:
        _export_for_transformers(tmp_path)
    ran = subprocess.run(
        [sys.executable, "-W", "error", example],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MISTRAL_LOCAL_THREADS": "1"},
        input="\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == "" or with_transformers  # which draws a bar
    assert re.fullmatch(OUTPUT[example.stem], ran.stdout, re.DOTALL), ran.stdout
    if example.stem == "embeddings":
        paraphrase, stranger = re.findall(r"-?0\.\d\d", ran.stdout)
        assert float(paraphrase) > float(stranger)


@pytest.mark.weights
@pytest.mark.skipif(os.name != "posix", reason="a script for sh")
def test_the_commands_run(tmp_path):
    (tmp_path / "question.txt").write_text("How hot is the sun?")
    ran = subprocess.run(
        ["sh", ROOT / "examples" / "command_line.sh"],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MISTRAL_LOCAL_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(
        r"\S.*\n{\"index\": 0, \"text\": \"How hot is the sun\?\".*\n\(1, 1024\)\n", ran.stdout, re.DOTALL
    )


def test_the_tested_app_passes_its_tests():
    """Offline, and with no endpoint that it could use by mistake."""
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "mistral_client.testing.plugin",
            "-p",
            "no:cacheprovider",
            TESTED_APP,
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MISTRAL_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"\n10 passed in ", ran.stdout), ran.stdout


def _export_for_transformers(folder):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from mistral_client.server.weights import default_model
    from mistral_client.server.weights.export import export_safetensors

    export_safetensors(default_model(), folder / "mixtral-8x135m", progress=False)
