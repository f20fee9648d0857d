"""Mistral's wire in front of servers that the tests script, and clients of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mistral_client.server.upstream.calls import add_calls
from mistral_client.server.upstream.upstreams import Upstream, Upstreams
from tests.conftest import Script
from tests.server.serving import serving

from .other_server import OtherServer


@pytest.fixture
def other_server() -> Iterator[Callable[..., OtherServer]]:
    with contextlib.ExitStack() as closing:

        def make(*scripts: Script, **options: Any) -> OtherServer:
            server = OtherServer(*scripts, **options)
            closing.callback(server.close)
            return server

        yield make


@pytest.fixture
def in_front() -> Iterator[Callable[..., str]]:
    """Serves servers as upstreams; gives the address."""
    with contextlib.ExitStack() as closing:

        def serve(*servers: OtherServer | str, key: str | None = None, options: Any = None, **given: Any) -> str:
            urls = [server if isinstance(server, str) else server.url for server in servers]
            upstreams = Upstreams([Upstream(url, key, **(options or {})) for url in urls], **given)
            return closing.enter_context(serving(models=upstreams, add_calls=add_calls))[1]

        yield serve
