"""`transformers serve`, which speaks OpenAI's wire, with a checkpoint of ours."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx


@contextmanager
def transformers_serve(python: str | Path, checkpoint: Path, log: Path) -> Iterator[str]:
    """The address of such a server, which ends with the block. python: one that has Transformers; log: what it says."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [python, "-m", "transformers.cli.transformers", "serve", checkpoint, "--port", str(port)]
    with log.open("w") as said:
        offline = os.environ | {"HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(command, env=offline, stdout=said, stderr=said)
    try:
        _wait_for(url := f"http://localhost:{port}", process, log)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/health")
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the server did not start: {log.read_text()}")
