"""The last early client and the newest official one, unmodified, against `mistral-client serve`."""

from __future__ import annotations

import platformdirs
import pytest

from .driving import CONTRACT, drive
from .environments import client, interpreter
from .server import serving

NAMES = ["mistralai 0.4.2", "mistralai 3.7.0"]


@pytest.fixture(scope="module")
def url():
    with serving() as url:
        yield url


@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES)
def test_it_works_unmodified(name, url):
    official = client(name)
    # Made once, and kept beside the weights.
    python = interpreter(official, platformdirs.user_cache_path("mistral_client") / "compat")
    outcome = drive(official, python, url)
    assert {line: end for line, end in outcome.items() if not end.get("ok") and "not_offered" not in end} == {}
    assert sum(bool(end.get("ok")) for end in outcome.values()) >= len(CONTRACT) - 1
