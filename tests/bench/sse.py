"""How many MB of token events the decoder reads in a second of CPU time: python -m tests.bench.sse.

Exit code 1 when a network's usual piece, 16 KiB, goes slower than FLOOR. With httpx-sse installed it reads the same.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import random
import statistics
import sys
import time
from collections.abc import Callable

import httpx

from mistral_client._sse import EventDecoder, encode_event

FLOOR = 40
KIB = (1, 4, 16, 64)
ROUNDS = 9
EVENTS = 20_000
WORDS = ["the", "cheese.", "Camembert", "is", "Brie", "Comté", "—", "Roquefort", "from\n", "Normandie", "which", "mil"]


def token_events() -> bytes:
    """One long answer as Mistral streams it, a token an event."""
    dice = random.Random(2024)
    chunk = {
        "id": "cmpl-3a1b7f0c52d84e0fb7d6c1f5a2e94b60",
        "object": "chat.completion.chunk",
        "created": 1707933416,
        "model": "mistral-small-latest",
        "choices": [{"index": 0, "delta": {"role": None, "content": ""}, "finish_reason": None, "logprobs": None}],
    }
    events = []
    for _ in range(EVENTS):
        chunk["choices"][0]["delta"]["content"] = f" {dice.choice(WORDS)}"
        events.append(encode_event(json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))))
    return b"".join([*events, encode_event("[DONE]")])


def ours(pieces: list[bytes]) -> int:
    decoder = EventDecoder()
    return sum(1 for piece in pieces for _ in decoder.feed(piece))


def httpx_sse(pieces: list[bytes]) -> int:
    from httpx_sse import EventSource

    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=iter(pieces))
    return sum(1 for _ in EventSource(response).iter_sse())


def megabytes_a_second(read: Callable[[list[bytes]], int], pieces: list[bytes], rounds: int) -> float:
    size, seconds = sum(map(len, pieces)), []
    for _ in range(rounds):
        gc.collect()
        start = time.process_time()
        count = read(pieces)
        seconds.append(time.process_time() - start)
        assert count == EVENTS + 1, count
    return size / statistics.median(seconds) / 1e6


def main() -> int:
    raw = token_events()
    readers = {"mistral_client": (ours, ROUNDS)}
    if importlib.util.find_spec("httpx_sse"):
        readers["httpx_sse"] = (httpx_sse, 3)
    print(f"{EVENTS} events of {len(raw) // EVENTS} bytes, MB/s of CPU time")
    print(f"{'pieces':>8}", *(f"{name:>15}" for name in readers))
    at_16 = 0.0
    for kib in KIB:
        pieces = [raw[at : at + kib * 1024] for at in range(0, len(raw), kib * 1024)]
        speeds = [megabytes_a_second(read, pieces, rounds) for read, rounds in readers.values()]
        print(f"{kib:>4} KiB", *(f"{speed:>15.1f}" for speed in speeds))
        if kib == 16:
            at_16 = speeds[0]
    if at_16 < FLOOR:
        print(f"{at_16:.1f} MB/s with 16 KiB, which is under {FLOOR}", file=sys.stderr)
    return at_16 < FLOOR


if __name__ == "__main__":
    sys.exit(main())
