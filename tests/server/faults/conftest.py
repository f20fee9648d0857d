"""The server as `mistral-client serve` runs it, on a socket of loopback, in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from mistral_client.cli.http_server import Server
from mistral_client.server.admission import WAITING
from mistral_client.server.engine import Engine
from mistral_client.server.loading import Loaded
from mistral_client.server.models import Models


@pytest.fixture
def serving() -> Iterator[Callable[..., httpx.Client]]:
    """Serves an engine, with options of `Server`, and gives a client of it; all ends with the test."""
    with contextlib.ExitStack() as ending:

        def serve(engine: Engine, log_level: str = "critical", queue: int = WAITING, **options) -> httpx.Client:
            listener = ending.enter_context(socket.create_server(("127.0.0.1", 0)))
            server = Server(Models([Loaded("echo", "Repeats.", engine)], queue=queue), log_level, **options)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            ending.callback(thread.join, 20)
            ending.callback(setattr, server, "should_exit", True)
            deadline = time.monotonic() + 20
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            return ending.enter_context(httpx.Client(base_url=url, timeout=20, trust_env=False))

        yield serve
