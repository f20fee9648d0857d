"""The server as it runs behind `mistral-client serve`, in a thread, on a port of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from mistral_client.cli.http_server import Server
from mistral_client.server.admission import WAITING
from mistral_client.server.catalogue import Catalogue
from mistral_client.server.guard import Guard
from mistral_client.server.loading import Loaded
from mistral_client.server.models import Models
from tests.server.test_app import EchoEngine


@contextlib.contextmanager
def serving(
    guard: Guard | None = None,
    *,
    engine: EchoEngine | None = None,
    models: Catalogue | None = None,
    log_level: str = "critical",
    queue: int = WAITING,
    **options: Any,
) -> Iterator[tuple[Server, str]]:
    """The server and its address, until the block is left."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        offered = models or Models([Loaded("echo", "", engine or EchoEngine())], queue=queue)
        server = Server(offered, log_level, guard=guard, **{"grace": 0, **options})
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield server, url
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
