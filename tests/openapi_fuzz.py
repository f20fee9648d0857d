"""schemathesis against the server on a real socket: no 5xx and no reply that `/openapi.json` does not describe.

python -m tests.openapi_fuzz [CALLS]
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import uvicorn

from mistral_client.server.app import create_app
from mistral_client.server.loading import Loaded
from mistral_client.server.models import Models
from tests.compat.environments import environment
from tests.server.test_app import EchoEngine

SCHEMATHESIS = "schemathesis==4.32.5"
FOLDER = Path(__file__).parents[1] / ".compat"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance"
)


class Counted:
    """Middleware that counts requests, and notes the paths that were answered by a 5xx."""

    def __init__(self, app):
        self.app = app
        self.calls = 0
        self.failed = []

    async def __call__(self, scope, receive, send):
        async def seen(message):
            if message["type"] == "http.response.start" and message["status"] >= 500:
                self.failed.append((scope["method"], scope["path"], message["status"]))
            await send(message)

        self.calls += scope["type"] == "http"
        await self.app(scope, receive, seen)


def main(calls: int) -> int:
    program = environment(FOLDER / "schemathesis", (SCHEMATHESIS,)).with_name("schemathesis")
    app = Counted(create_app(models=Models([Loaded("echo", "Repeats.", EchoEngine())])))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/openapi.json"
            options = ["--phases", "examples,coverage,fuzzing", "--checks", CHECKS, "--continue-on-failure"]
            options += ["--workers", "2", "--suppress-health-check", "all", "--generation-database", "none"]
            done = 0
            status = 0
            while app.calls < calls and not status:
                done += 1
                seed = ["--seed", str(done), "--max-examples", str(max(100, calls // 5))]
                status = subprocess.run([program, "run", url, *options, *seed], cwd=FOLDER).returncode
        finally:
            server.should_exit = True
            thread.join()
    print(f"{app.calls} calls, {len(app.failed)} answered by a 5xx {app.failed[:5]}")
    return status or int(bool(app.failed))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 10_000))
