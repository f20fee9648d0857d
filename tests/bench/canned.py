"""A server of fixed bytes in a process of its own: it costs the same for every client, and next to nothing.

The name of the model in a request says what is answered, and then it is the same bytes each time:

- `chat-N`: an answer whose text has N characters.
- `lumps-N`: N chunks of a stream, in as few pieces as a busy network delivers them, 16 KiB each.
- `single-N`: N chunks of a stream, each in an HTTP chunk of its own, as most servers write them.
- `embed-N`: N vectors of 1,024 numbers, as JSON or as base64, as asked for.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

DIMENSIONS = 1024
LUMP = 16 * 1024
WORDS = ["The ", "best ", "French ", "cheese ", "is ", "Camem", "bert", ", ", "they ", "say", ".\n", "« Oui »"]
USAGE = {"prompt_tokens": 14, "total_tokens": 64, "completion_tokens": 50}
FRAME = {"id": "cmpl-e5cc70bb28c444948073e77776eb30ef", "created": 1702256327, "model": "mistral-small"}


class Canned(asyncio.Protocol):
    """A connection: reads requests, one after another, and writes the bytes that they ask for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"(?i)content-length: *(\d+)", self._read[:end])
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._read) < whole:
                return
            body, self._read = self._read[end + 4 : whole], self._read[whole:]
            name = re.search(rb'"model": ?"([a-z]+)-(\d+)"', body)
            assert name is not None, body[:200]
            self._transport.write(answer(name[1].decode(), int(name[2]), b'"base64"' in body))


@lru_cache
def answer(kind: str, size: int, base64_wanted: bool) -> bytes:
    """All bytes of a response."""
    if kind == "chat":
        text = "".join(random.Random(0).choices(WORDS, k=size))[:size]
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return _whole({**FRAME, "object": "chat.completion", "choices": [choice], "usage": USAGE})
    if kind == "embed":
        numbers = random.Random(0)
        vectors = [[numbers.gauss(0, 1 / 32) for _ in range(DIMENSIONS)] for _ in range(size)]
        shown = [_base64(vector) if base64_wanted else vector for vector in vectors]
        data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(shown)]
        return _whole({**FRAME, "object": "list", "data": data, "usage": USAGE})
    return _stream(list(_events(size)), 1 if kind == "single" else LUMP)


def _whole(value: object) -> bytes:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _events(count: int) -> Iterator[bytes]:
    for index in range(count):
        last = index == count - 1
        choice = {
            "index": 0,
            "delta": {"content": WORDS[index % len(WORDS)]},
            "finish_reason": "stop" if last else None,
        }
        chunk = {**FRAME, "object": "chat.completion.chunk", "choices": [choice], **({"usage": USAGE} if last else {})}
        yield b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def _stream(events: list[bytes], piece: int) -> bytes:
    """The events in HTTP chunks of at least so many bytes."""
    parts = [b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"]
    waiting = b""
    for event in events:
        waiting += event
        if len(waiting) >= piece:
            parts.append(b"%x\r\n%b\r\n" % (len(waiting), waiting))
            waiting = b""
    if waiting:
        parts.append(b"%x\r\n%b\r\n" % (len(waiting), waiting))
    return b"".join([*parts, b"0\r\n\r\n"])


@contextmanager
def canned() -> Iterator[str]:
    """The address of such a server, which ends with the block."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
