"""The page on reliability is true: its rows are all there, its tests exist, its figures are those that were measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .faults.table import TABLE

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
MEASURED = json.loads((ROOT / "tests" / "bench" / "peers.json").read_text())
TEST_ROWS = (ROOT / "tests" / "faults" / "test_rows.py").read_text()
PEERS = ["openai", "anthropic", "mistralai"]
WORDS = {True: "yes", False: "no", None: "n/a"}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split(" | ")]


ROWS = [cells(line) for line in re.findall(r"^\| \d+ \|.*\|$", PAGE, re.MULTILINE)]


def test_all_rows_are_there_in_order():
    assert [int(row[0]) for row in ROWS] == list(range(1, 94))
    assert all(len(row) == 7 and all(row) for row in ROWS)


def defines(text, name):
    return re.search(rf'^(async )?def {name}\(|^ +"{name}":', text, re.MULTILINE)


@pytest.mark.parametrize("row", ROWS, ids=[f"row {row[0]}" for row in ROWS])
def test_the_test_of_a_row_exists_and_is_of_this_row(row):
    number, named = row[0], row[3].strip("`")
    file, name = named.split(": ")
    if file == "test_table":
        assert name == f"row{number}"
        assert int(number) in {fault.number for fault in TABLE}
    else:
        assert file == "test_rows"
        assert f"row_{number}_" in name
        assert defines(TEST_ROWS, name)


def test_the_tests_of_the_promises_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 10
    for file, name in named:
        assert defines((ROOT / file).read_text(), name), (file, name)
    for file in re.findall(r"`(tests/[\w/]+\.py)", PAGE):
        assert (ROOT / file).exists()


def test_what_other_clients_do_is_what_was_measured():
    for number, *_, openai, anthropic, mistralai in ROWS:
        measured = MEASURED["rows"][number]
        assert [openai, anthropic, mistralai] == [WORDS[measured[peer]["right"]] for peer in PEERS], number


@pytest.mark.parametrize("client", ["mistral_client", *PEERS])
def test_the_percentages_are_those_of_the_rows(client):
    told = [row[client]["right"] for row in MEASURED["rows"].values() if row[client]["right"] is not None]
    percent = round(100 * sum(told) / len(told))
    assert MEASURED["percent"][client] == percent
    version = MEASURED["versions"].get(client, "this one")
    assert f"| {client} | {version} | {sum(told)} of {len(told)} | {percent} % |" in PAGE
    assert f"Python {MEASURED['python']}" in " ".join(PAGE.split())
