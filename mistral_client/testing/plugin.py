"""The plugin for pytest: a fixture and an option. Loaded in every run of pytest, so it imports nothing but pytest."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import MistralServer

_SERVER = pytest.StashKey["MistralServer"]()
_ENVIRONMENT = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("mistral-client").addoption(
        "--mistral-record",
        action="store_true",
        help="make the recordings of mistral_server.replay() anew, from the real endpoint",
    )


def pytest_configure(config: pytest.Config) -> None:
    # As the user has set it, and no fixture of the tests.
    names = ("MISTRAL_ENDPOINT", "MISTRAL_API_KEY")
    config.stash[_ENVIRONMENT] = {name: os.environ[name] for name in names if name in os.environ}


@pytest.fixture
def mistral_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MistralServer]:
    """A server of Mistral's API on this machine, with nothing to say yet.

    During the test it is what `MISTRAL_ENDPOINT` names, and `MISTRAL_API_KEY` is a key that opens nothing.
    """
    from .server import API_KEY, MistralServer  # noqa: PLC0415

    with MistralServer(
        record=request.config.getoption("--mistral-record"),
        recording=_recording(request.node),
        environment=request.config.stash[_ENVIRONMENT],
    ) as server:
        monkeypatch.setenv("MISTRAL_ENDPOINT", server.url)
        monkeypatch.setenv("MISTRAL_API_KEY", API_KEY)
        request.node.stash[_SERVER] = server
        yield server
    server.check()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test fails with what its server could not answer, and says what the server was asked."""
    try:
        result = yield
        if _SERVER in item.stash:
            item.stash[_SERVER].check()
    except BaseException:
        if _SERVER in item.stash:
            item.add_report_section("call", "mistral_server", item.stash[_SERVER].log())
        raise
    return result


def _recording(item: pytest.Item) -> Path:
    """`recordings/test_module.test_name.jsonl` beside the test."""
    name = re.sub(r"[^\w.-]+", "-", f"{item.path.stem}.{item.name}")
    return item.path.parent / "recordings" / f"{name}.jsonl"
