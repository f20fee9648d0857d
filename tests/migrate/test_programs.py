"""Programs of every generation, rewritten, do what they do unchanged under another name of this package."""

from __future__ import annotations

import gc
import runpy
import sys
from pathlib import Path

import pytest

from mistral_client.migrate.examining import examine

HERE = Path(__file__).parent
PROGRAMS = [*sorted((HERE / "programs").glob("*.py")), *sorted((HERE.parent / "programs").glob("*.py"))]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # programs need not close what ends with them
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_the_rewritten_program_does_the_same(program, mistral_server, as_mistralai, tmp_path, capsys):
    mistral_server.reply(lambda request: f"Brie, I say, and {request.text}")
    mistral_server.reply_models([{"id": "mistral-tiny", "created": 1}])

    def run(path):
        before = len(mistral_server.requests)
        runpy.run_path(str(path), run_name="__main__")
        gc.collect()
        return capsys.readouterr().out, [(each.path, each.body) for each in mistral_server.requests[before:]]

    examined = examine(program.read_bytes())
    assert not examined.in_the_way
    rewritten = tmp_path / program.name
    rewritten.write_bytes(examined.rewritten)
    output, requests = run(program)
    assert requests
    assert output
    del sys.modules["mistralai"]  # which nothing may import now
    sys.modules["mistralai"] = None
    assert run(rewritten) == (output, requests)
