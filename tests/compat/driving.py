"""Runs a client's driver in the client's environment and reads how each line of the contract ended; likewise the
standard tests of its field, and the example that uses it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tests.test_examples import OUTPUT, ROOT

from .environments import Client, script
from .server import KEY

CONTRACT = {
    "list": "list",
    "chat": "chat",
    "stream": "stream",
    "asynchronous": "async",
    "embeddings": "embeddings",
    "tools": "tools",
    "schema": "JSON schema",
    "unauthorized": "401",
    "unknown_model": "unknown model",
    "bad_value": "422 value",
    "unknown_field": "422 field",
}
"""The lines of the contract, and their names in the table."""

SECONDS = 300

Outcome = dict[str, dict[str, str | bool]]
"""For each line: `ok`, `not_offered` with the reason, or `failed` with what went wrong."""


def drive(client: Client, python: Path, url: str) -> Outcome:
    """Every line of the contract has an entry, also where the driver broke down."""
    command = [python, script(client.driver)]
    try:
        done = _run(command, url)
    except subprocess.TimeoutExpired:
        return {line: {"failed": f"no end after {SECONDS} s"} for line in CONTRACT}
    lines = [line for line in done.stdout.splitlines() if line.startswith("OUTCOME ")]
    outcome: Outcome = json.loads(lines[-1].removeprefix("OUTCOME ")) if lines else {}
    broken = f"the driver broke down: {done.stderr[-500:]}"
    return {line: outcome.get(line, {"failed": broken}) for line in CONTRACT}


class Standard(NamedTuple):
    """How the standard tests ended: how many passed, and which did not and why. `failed` are those that had to pass."""

    passed: int
    skipped: list[str]
    failed: list[str]


def standard(client: Client, python: Path, url: str) -> Standard:
    """Raises `RuntimeError` with pytest's words when it ran no test or did not end."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        settings = ["-c", os.devnull, "--rootdir", folder, "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
        # Without our own conftest.py: the environment has nothing of what that needs.
        command = [python, "-m", "pytest", "--noconftest", script(client.standard), *settings, "--junit-xml", report]
        try:
            done = _run(command, url)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no end after {SECONDS} s") from None
        if done.returncode not in (0, 1):
            raise RuntimeError(f"pytest broke down: {(done.stderr or done.stdout)[-500:]}")
        tests = list(ElementTree.parse(report).iter("testcase"))
    skipped = [_ended(test, end) for test in tests for end in test.iter("skipped")]
    failed = [_ended(test, end) for test in tests for kind in ("failure", "error") for end in test.iter(kind)]
    return Standard(len(tests) - len(skipped) - len(failed), skipped, failed)


def example(client: Client, python: Path, url: str) -> str:
    """What is wrong with what the example says; nothing if all is well."""
    command = [python, ROOT / "examples" / f"{client.example}.py"]
    try:
        done = _run(command, url, MISTRAL_ENDPOINT=url, MISTRAL_API_KEY=KEY)
    except subprocess.TimeoutExpired:
        return f"no end after {SECONDS} s"
    said = done.stdout + done.stderr
    return "" if done.returncode == 0 and re.fullmatch(OUTPUT[client.example], said) else said[-500:] or "nothing said"


def _ended(test: ElementTree.Element, end: ElementTree.Element) -> str:
    return f"{test.get('name')}: {end.get('message', '').splitlines()[0][:200]}"


def _run(command: list[Path | str], url: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Nothing of this project, and nothing of the developer's settings, reaches the client."""
    told = {
        name: os.environ[name]
        for name in ("HOME", "LANG", "PATH", "SYSTEMROOT", "TEMP", "TMPDIR")
        if name in os.environ
    }
    told |= {"COMPAT_URL": url, "COMPAT_KEY": KEY, "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1", **more}
    return subprocess.run(command, env=told, capture_output=True, text=True, timeout=SECONDS)
