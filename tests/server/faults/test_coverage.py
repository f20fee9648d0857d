"""Every row of the server's table of faults has a test."""

from __future__ import annotations

import re
from pathlib import Path

ROWS = range(1, 49)


def test_every_row_has_a_test():
    tests = Path(__file__).parents[1].rglob("test_*.py")
    named = {
        int(number) for path in tests for number in re.findall(r"^def test_row_?(\d+)_", path.read_text(), re.MULTILINE)
    }
    assert named == set(ROWS)
