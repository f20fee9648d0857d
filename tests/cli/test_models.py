"""`mistral-client models`"""

import json

import pytest

from ..conftest import http

CARDS = [
    {"id": "mistral-small-latest", "object": "model", "owned_by": "mistralai", "max_context_length": 32768},
    {"id": "tiny", "object": "model"},
]


def listed(*cards: dict) -> list[bytes]:
    return [http(json.dumps({"object": "list", "data": cards}).encode())]


def test_a_table(invoke, raw_server):
    result = invoke("models", "--endpoint", raw_server(listed(*CARDS)).url)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "MODEL                 CONTEXT  OWNER",
        "mistral-small-latest  32768    mistralai",
        "tiny",
    ]


def test_descriptions_that_differ_are_a_column(invoke, raw_server):
    first = CARDS[0] | {"description": "Small\n but fine."}
    result = invoke("models", "--endpoint", raw_server(listed(first, CARDS[1])).url)
    assert result.stdout.splitlines() == [
        "MODEL                 CONTEXT  OWNER      DESCRIPTION",
        "mistral-small-latest  32768    mistralai  Small but fine.",
        "tiny",
    ]


def test_a_common_description_stands_below(invoke, raw_server):
    cards = [card | {"description": "All the same."} for card in CARDS]
    result = invoke("models", "--endpoint", raw_server(listed(*cards)).url)
    assert result.stdout.splitlines()[-3:] == ["tiny", "", "All the same."]


def test_no_models(invoke, raw_server):
    assert invoke("models", "--endpoint", raw_server(listed()).url).stdout == "MODEL  CONTEXT  OWNER\n"


def test_json(invoke, raw_server):
    result = invoke("models", "--json", "--endpoint", raw_server(listed(*CARDS)).url)
    assert json.loads(result.stdout) == {"object": "list", "data": CARDS}


def test_a_model_in_this_process(command, baby):
    code, output, errors = command("models", "--endpoint", f"local:{baby}").finish()
    assert (code, errors) == (0, "")
    titles, first, *_ = output.splitlines()
    assert titles.split() == ["MODEL", "CONTEXT", "OWNER"]
    assert first.split() == ["baby", "2048", "mistralai"]
    assert titles.index("CONTEXT") == first.index("2048")
    assert output.endswith(f"\n{baby} (2 MB)\n")


@pytest.mark.weights
def test_the_default_model_says_what_it_is(command):
    code, output, errors = command("models").finish()
    assert (code, errors) == (0, "")
    for word in ("mixtral-8x135m", "open-mixtral-8x7b", "English", "upcycled", "copies", ".gguf (421 MB)"):
        assert word in output


def test_an_export(invoke, baby, tmp_path):
    result = invoke("models", "export", "--format", "safetensors", "--model", baby, tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'out'}\n")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    again = invoke("models", "export", "--format", "safetensors", "--model", baby, tmp_path / "out")
    assert again.exit_code == 1
    assert again.stderr.startswith("error: ")
    assert "not empty" in again.stderr
    assert invoke("models", "export", tmp_path / "new").exit_code == 2
