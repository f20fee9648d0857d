"""The server that the clients are tried on: `mistral-client serve`, in a process of its own, with a key."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

KEY = "a-key-of-this-server"
SECONDS = 300
"""The default Mixtral may have to be made first."""


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server that takes KEY and no other; it ends with the block.

    Raises `RuntimeError` with the server's words when it does not start.
    """
    command = [sys.executable, "-m", "mistral_client.cli", "serve", "--port", "0"]
    with tempfile.TemporaryFile("w+") as said:
        environment = {**os.environ, "MISTRAL_SERVER_API_KEYS": KEY}
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            yield _address(process, said.fileno())
        finally:
            process.terminate()
            process.wait(30)


def _address(process: subprocess.Popen[bytes], said: int) -> str:
    deadline = time.monotonic() + SECONDS
    text = ""
    while process.poll() is None and time.monotonic() < deadline:
        text = os.pread(said, 10_000, 0).decode()
        if found := re.search(r"listens on (http://\S+);", text):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start: {text}")
