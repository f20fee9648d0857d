"""What each contender does, over and over, and what it costs: runs in the contender's environment, with nothing else.

A contender gives a function for each work that it has: told how often, it does the work and says how many units that
were. Standard input has a line `WORK COUNT` for each measurement; the answer is a line of JSON: the CPU seconds of this
process, and the units.
"""

import asyncio
import inspect
import json
import sys
import time

URL = sys.argv[1]
KEY = "a-key-of-32-characters-0123456789"
MESSAGES = [{"role": "user", "content": "What is the best French cheese?"}]
LONG = [{"role": "user" if n % 2 == 0 else "assistant", "content": f"{n}: " + "so it goes " * 10} for n in range(101)]
TEXTS = [f"text number {n}" for n in range(64)]

CHAT = "chat-200"
LONG_CHAT = "chat-8000"
CHUNKS = 500
STREAM = f"single-{CHUNKS}"
LONG_STREAM = f"single-{10 * CHUNKS}"
LUMPS = f"lumps-{CHUNKS}"
EMBED = "embed-64"
STREAMS = 20
CALLS = 50


def contend(**works):
    loop = asyncio.new_event_loop()

    def run(work, count):
        done = work(count)
        return loop.run_until_complete(done) if inspect.isawaitable(done) else done

    print(json.dumps(sorted(works)), flush=True)
    for line in sys.stdin:
        name, count = line.split()
        before = time.process_time()
        units = run(works[name], int(count))
        print(json.dumps([time.process_time() - before, units]), flush=True)


def repeated(call):
    """A work whose unit is a call."""

    def work(count):
        for _ in range(count):
            call()
        return count

    return work


def streamed(read):
    """A work whose unit is a chunk: `read` reads a whole stream and says how many it had."""

    def work(count):
        return sum(read() for _ in range(count))

    return work


def repeated_async(call):
    async def work(count):
        for _ in range(count):
            await call()
        return count

    return work


def streamed_async(read):
    async def work(count):
        return sum([await read() for _ in range(count)])

    return work


def at_once(call, width):
    """As `width` tasks at the same time, each `count` times; the unit is what `call` returns, or a call."""

    async def one(count):
        return sum([await call() or 1 for _ in range(count)])

    async def work(count):
        return sum(await asyncio.gather(*(one(count) for _ in range(width))))

    return work
