"""Runs a client's driver in the client's environment and reads how each line of the contract ended."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from .environments import Client
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
    # Nothing of this project, and nothing of the developer's settings, reaches the client.
    told = {
        name: os.environ[name]
        for name in ("HOME", "LANG", "PATH", "SYSTEMROOT", "TEMP", "TMPDIR")
        if name in os.environ
    }
    told |= {"COMPAT_URL": url, "COMPAT_KEY": KEY, "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run([python, client.script], env=told, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return {line: {"failed": f"no end after {SECONDS} s"} for line in CONTRACT}
    lines = [line for line in done.stdout.splitlines() if line.startswith("OUTCOME ")]
    outcome: Outcome = json.loads(lines[-1].removeprefix("OUTCOME ")) if lines else {}
    broken = f"the driver broke down: {done.stderr[-500:]}"
    return {line: outcome.get(line, {"failed": broken}) for line in CONTRACT}
