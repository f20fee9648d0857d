"""Runs what is compared with other people's packages, in an environment that has them: `make oracle`."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.compat.environments import environment

ROOT = Path(__file__).parents[2]

PINNED = (
    "torch==2.13.0",
    "transformers[serving]==5.24.0",
    "tokenizers==0.23.3",
    "safetensors==0.8.0",
    "mistral-common==1.13.1",
    "sentencepiece",
    "anyio[trio]",
    "hypothesis",
    "pytest",
    "pytest-asyncio",
)
"""What the oracles are, and what asks them."""


def packages() -> tuple[str, ...]:
    """All that is installed: what this package needs as well, as `pyproject.toml` says it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    own = [*project["dependencies"], *extras["local"], *extras["transformers"]]
    return (*(name for name in own if not name.startswith("mistral-client")), *PINNED)


def main() -> int:
    """Run pytest with the arguments of the command line, which may name tests."""
    python = environment(ROOT / ".oracle" / "environment", packages())
    told = sys.argv[1:] or ["tests/oracle"]
    return subprocess.run(
        [python, "-m", "pytest", *told], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
