"""docs/migrate.md shows what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from mistral_client.cli.program import program
from mistral_client.migrate.examining import examine
from mistral_client.migrate.finding import Kind

PAGE = (Path(__file__).parents[2] / "docs" / "migrate.md").read_text()
ROWS = re.findall(
    r"^\| (.+) \| (.+) \|$", PAGE.partition("## What it rewrites")[2].partition("\n\nOnly")[0], re.MULTILINE
)


def test_the_example(tmp_path, monkeypatch):
    shown = re.search(r"```text\n\$ mistral-client ([^\n]+)\n(.*?)```", PAGE, re.DOTALL)
    hunk = shown[2].partition("@@\n")[2].splitlines()[:-1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").mkdir()
    chat = "\n".join(line[1:] for line in hunk if not line.startswith("+"))
    (tmp_path / "app" / "chat.py").write_text(f"{chat}\nprint(client.chat(messages=messages, model='mistral-small'))\n")
    (tmp_path / "app" / "scan.py").write_text(
        "from mistralai import Mistral\n" + 7 * "\n" + "Mistral().ocr.process()\n"
    )
    result = CliRunner().invoke(program, shown[1].split())
    assert (result.exit_code, result.output) == (1, shown[2])


@pytest.mark.parametrize(("before", "after"), ROWS[2:])
def test_a_row_of_the_table(before, after):
    before, after = ("\n".join(re.findall(r"`(.+?)`", cell)) for cell in (before, after))
    assert examine(before.encode()).rewritten.decode() == after


def test_the_table_of_findings_is_whole():
    told = dict(re.findall(r"^\| `([a-z ]+)` \| .* \| (yes|no) \|$", PAGE, re.MULTILINE))
    assert told == {kind.value: "no" if kind.in_the_way else "yes" for kind in Kind}
