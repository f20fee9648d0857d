from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mistral_client.cli.program import program

from ..conftest import Script, chunk, chunked_head

PATIENCE = 30
"""Seconds after which a test has failed, on a busy machine too."""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command keeps what it remembers; not among what the developer's own commands do."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return folder / "mistral_client"


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """The command in this process, with its output and exit code. Its standard input is no terminal."""

    def run(*arguments: object, **options: Any) -> Result:
        result = CliRunner().invoke(program, list(map(str, arguments)), prog_name="mistral-client", **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


class Command(subprocess.Popen[str]):
    """The command in a process of its own."""

    def __init__(self, *arguments: object, **options: Any) -> None:
        piped = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = {**os.environ, "PYTHONWARNINGS": "error", **options.pop("env", {})}
        super().__init__(
            [sys.executable, "-m", "mistral_client.cli", *map(str, arguments)],
            env=environment,
            **{"encoding": "utf-8", **piped, **options},
        )
        # Whatever a test waits for, it does not wait for ever.
        self._guard = threading.Timer(PATIENCE, self.kill)
        self._guard.daemon = True
        self._guard.start()

    def end(self) -> None:
        self.kill()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None and not stream.closed:
                stream.close()
        self.wait()
        self._guard.cancel()

    def read_until(self, stream: Any, text: str) -> str:
        """What comes on a stream up to a text."""
        seen = ""
        while text not in seen:
            more = stream.read(1)
            assert more, f"ended after {seen!r}"
            seen += more
        return seen

    def interrupt(self) -> None:
        """Ctrl-C"""
        self.send_signal(signal.SIGINT)

    def finish(self, input: str | None = None) -> tuple[int, str, str]:
        """Wait for the end: exit code, and the rest of standard output and of standard error."""
        output, errors = self.communicate(input, timeout=PATIENCE)
        return self.returncode, output, errors


@pytest.fixture
def command() -> Iterator[Callable[..., Command]]:
    with ExitStack() as ending:

        def start(*arguments: object, **options: Any) -> Command:
            started = Command(*arguments, **options)
            ending.callback(started.end)
            return started

        yield start


def events(*texts: str | float, finish_reason: str | None = "stop") -> Script:
    """A streamed answer; a number is a pause. Without a finish reason it breaks off."""
    script: Script = [chunked_head()]
    for text in texts:
        script.append(text if isinstance(text, float) else _event({"delta": {"content": text}, "finish_reason": None}))
    if finish_reason is not None:
        script.append(_event({"delta": {"content": ""}, "finish_reason": finish_reason}))
        script.append(chunk(b"data: [DONE]\n\n"))
    return [*script, chunk(b"")]


def _event(choice: dict[str, Any]) -> bytes:
    data = {"id": "1", "model": "m", "choices": [{"index": 0, **choice}]}
    return chunk(f"data: {json.dumps(data)}\n\n".encode())


def sent(request: bytes) -> Any:
    """The JSON in a request."""
    return json.loads(request.partition(b"\r\n\r\n")[2])
