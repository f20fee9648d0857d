"""What a server sends takes no more memory than the limits say, measured as the system does, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import zlib

import pytest

from .conftest import chunked_head

MIB = 2**20
LIMIT = 16
SENT = 200
SLACK = 8  # MiB: what the interpreter takes and gives back as it likes

HEAD = b"HTTP/1.1 %s\r\ncontent-type: %s\r\n\r\n"


def zeros(chunk_of=lambda data: data):
    def send(connection):
        for _ in range(SENT):
            connection.sendall(chunk_of(bytes(MIB).replace(b"\0", b" ")))

    return send


def bomb():
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(b" " * SENT * MIB) + packer.flush()


GZIP = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\r\n"
ANSWERS = {
    "a long answer": ("chat", [HEAD % (b"200 OK", b"application/json"), zeros()]),
    "a bomb": ("chat", [GZIP, bomb()]),
    "a long error": ("chat", [HEAD % (b"400 Bad Request", b"text/html"), zeros()]),
    "a long event": ("chat_stream", [HEAD % (b"200 OK", b"text/event-stream"), b"data: ", zeros()]),
    "a long line in chunks": (
        "chat_stream",
        [chunked_head(), zeros(lambda data: b"%x\r\n%s\r\n" % (len(data), data))],
    ),
    "a long answer in place of a stream": ("chat_stream", [HEAD % (b"200 OK", b"application/json"), zeros()]),
}
PROGRAM = f"""
    import resource, sys
    from mistral_client import Limits, MistralClient, MistralException

    client = MistralClient("key", sys.argv[1], 0, limits=Limits({LIMIT * MIB}, {LIMIT * MIB}))

    def fail():
        try:
            list(getattr(client, sys.argv[2])([{{"role": "user", "content": "hello"}}], "m"))
        except MistralException as error:
            return type(error).__name__

    def most():
        kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kibibytes / 1024 / (1024 if sys.platform == "darwin" else 1)

    fail()  # a server that says nothing yet: what is loaded is loaded
    before = most()
    print(fail(), most() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="measured by POSIX's getrusage")
@pytest.mark.parametrize(("call", "script"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_read_is_bounded(raw_server, call, script):
    server = raw_server([], script)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), server.url, call], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    kind, grown = done.stdout.split()
    assert kind == ("InvalidRequestError" if b"400" in script[0] else "ProtocolError")
    assert float(grown) < 2 * LIMIT + SLACK
