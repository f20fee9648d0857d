"""Runs what needs Ray, in an environment that has it: `make cluster`, and `python -m tests.cluster scale`."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.compat.environments import environment

ROOT = Path(__file__).parents[2]

PINNED = (
    "ray[serve]==2.60.0",
    "simpy==4.1.1",
    "matplotlib>=3.10",
    "pyyaml>=6",
    "pytest",
    "pytest-asyncio",
    "hypothesis",
    "anyio[trio]",
)
"""What the tests are about, and what runs them."""


def packages() -> tuple[str, ...]:
    """All that is installed: what this package needs as well, as `pyproject.toml` says it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [*project["dependencies"], *project["optional-dependencies"]["local"]]
    return (*own, *PINNED)


def main() -> int:
    """Run pytest with the arguments of the command line, which may name tests; or, after `scale`, what that writes."""
    python = environment(ROOT / ".cluster" / "environment", packages())
    if sys.argv[1:2] == ["scale"]:
        program = ["tests.cluster.scale", *sys.argv[2:]]
    else:
        options = ["-o", "filterwarnings=ignore", "-W", "error::pytest.PytestUnhandledThreadExceptionWarning"]
        options += ["-o", "faulthandler_timeout=600"]
        program = ["pytest", *options, *(sys.argv[1:] or ["tests/cluster", "-v"])]
    return subprocess.run(
        [python, "-m", *program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
