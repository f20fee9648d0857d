"""The documentation as a site: it builds without a warning, every public name is in it, and its search finds things."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib

import pytest

import mistral_client
from tests.test_docs import ROOT

pytest.importorskip("sphinx")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built as `make docs` does it: a link that leads nowhere, and a page that nothing leads to, are warnings."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", folder / "doctrees"]
    command = [sys.executable, "-m", "sphinx", *options, ROOT / "docs", folder / "html"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    return folder / "html"


def test_every_public_name_is_on_the_page_of_names(site):
    _, _, _, _, inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)
    entries = [line.split() for line in zlib.decompress(inventory).decode().splitlines()]
    found = {name for name, domain, _, page, *_ in entries if domain.startswith("py:") and page.startswith("api.html")}
    assert {f"mistral_client.{name}" for name in mistral_client.__all__} <= found
    methods = {name for name in vars(mistral_client.MistralAsyncClient) if not name.startswith("_")}
    assert {f"mistral_client.MistralAsyncClient.{name}" for name in methods} <= found


@pytest.fixture(scope="module")
def index(site):
    """What the site's own script searches, without a server."""
    return json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)", (site / "searchindex.js").read_text())[1])


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("tutorial", "tutorial"),
        ("browser leaves", "fastapi"),
        ("langchain", "langchain"),
        ("jupyter", "notebooks"),
        ("openai seed", "migration"),
        ("retries budget", "errors"),
        ("safetensors checkpoints", "server"),
        ("perplexity", "performance"),
        ("wheels", "offline"),
    ],
)
def test_the_search_finds_a_page(index, words, page):
    """Looked up as the script does it: the stem of each word, in texts and in titles."""
    from sphinx.search.en import SearchEnglish

    for word in map(SearchEnglish({}).stem, words.split()):
        numbers = [index[terms].get(word, []) for terms in ("terms", "titleterms")]
        found = {number for each in numbers for number in (each if isinstance(each, list) else [each])}
        assert page in {index["docnames"][number] for number in found}, word


def test_the_search_finds_names(index):
    names = {entry[4] for entry in index["objects"]["mistral_client"]}
    assert {"MistralClient", "StreamInterrupted", "ChatMessage"} <= names
