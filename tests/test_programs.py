"""Programs of January 2024 run: with one word changed, and without any change under `mistral-client run`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .test_default_mixtral import ENGLISH

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))

pytestmark = pytest.mark.weights


def run(*command: str | Path, **environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def check(program: Path, output: str) -> None:
    if program.stem == "list_models":
        assert output.startswith("object='list' data=[ModelCard(id='mixtral-8x135m', object='model', created=")
        for name in ("mistral-tiny", "mistral-small", "mistral-medium", "open-mixtral-8x7b", "mistral-embed"):
            assert f"ModelCard(id='{name}'" in output
        assert "owned_by='mistralai', root=None, parent=None, permission=[ModelPermission(id='modelperm-" in output
    else:
        # What a small model says when it may say anything: English, and not always about cheese.
        words = [word.strip(".,;:!?\"'()").lower() for word in output.split()]
        assert words
        assert len(words) < 10 or any(word in ENGLISH for word in words)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_with_one_word_changed(program, tmp_path):
    changed = tmp_path / program.name
    changed.write_text(program.read_text().replace("mistralai", "mistral_client"))
    check(program, run(changed, MISTRAL_ENDPOINT="local"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_unchanged(program):
    check(program, run("-m", "mistral_client.cli", "run", program))
