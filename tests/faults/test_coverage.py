"""Every row of the table of faults has a test."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROWS = range(1, 94)


def test_every_row_has_a_test():
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).parent),
    ]
    listing = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], timeout=120
    ).stdout
    named = {int(number) for number in re.findall(r"row_?(\d+)[-_]", listing)}
    assert sorted(set(ROWS) - named) == []
    assert named <= set(ROWS)
