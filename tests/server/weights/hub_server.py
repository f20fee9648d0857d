"""A hub of one repository over real HTTP, with the routes that `huggingface_hub` asks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def hub(repo: str, files: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the files that were downloaded."""
    downloaded: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            path = self.path.partition("?")[0]
            listed = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
            if path in {
                f"/api/models/{repo}",
                f"/api/models/{repo}/revision/main",
                f"/api/models/{repo}/revision/{COMMIT}",
            }:
                self._json(200, {"id": repo, "sha": COMMIT, "siblings": listed, "private": False, "tags": []})
            elif path.startswith(f"/api/models/{repo}/tree/"):
                self._json(
                    200,
                    [
                        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                        for name, content in files.items()
                    ],
                )
            elif (name := path.partition(f"/{repo}/resolve/")[2].partition("/")[2]) in files:
                self._file(name, files[name])
            else:
                self._json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

        do_HEAD = do_GET  # noqa: N815

        def _json(self, status, body, headers=()):
            content = json.dumps(body).encode()
            self._answer(status, content, {"Content-Type": "application/json", **dict(headers)})

        def _file(self, name, content):
            if self.command == "GET":
                downloaded.append(name)
            self._answer(
                200, content, {"ETag": f'"{hashlib.sha1(name.encode()).hexdigest()}"', "X-Repo-Commit": COMMIT}
            )

        def _answer(self, status, content, headers):
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", downloaded
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
