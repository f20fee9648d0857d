"""What each contender does, over and over, and what it costs: runs in the contender's environment, with nothing else.

A contender gives `contend` the calls that it has. A work is a function: told how often, it does the work and says how
many units that were. Standard input has a line `WORK COUNT` for each measurement; the answer is a line of JSON: the CPU seconds of this
process, and the units.
"""

import asyncio
import inspect
import json
import sys
import time
from functools import partial

URL = sys.argv[1]
KEY = "a-key-of-32-characters-0123456789"
MESSAGES = [{"role": "user", "content": "What is the best French cheese?"}]
LONG, LONGER = (
    [{"role": "user" if n % 2 == 0 else "assistant", "content": f"{n}: " + "so it goes " * 10} for n in range(count)]
    for count in (101, 1001)
)
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


def contend(chat=None, stream=None, achat=None, astream=None, embed=None, encodings=("float", "base64")):
    """The works of a contender, out of the calls that it has.

    chat: takes messages and model. stream: takes a model, reads a whole stream and says how many chunks it had. achat,
    astream: asynchronously, with the messages and models of every day. embed: takes one of the encodings.
    """
    works = {}
    if chat:
        works["chat"] = repeated(lambda: chat(MESSAGES, CHAT))
        works["long_chat"] = repeated(lambda: chat(LONG, LONG_CHAT))
        works["hundred_messages"] = repeated(lambda: chat(LONG, CHAT))
        works["thousand_messages"] = repeated(lambda: chat(LONGER, CHAT))
    if stream:
        for name, model in {"stream": STREAM, "long_stream": LONG_STREAM, "lumps": LUMPS}.items():
            works[name] = streamed(partial(stream, model))
    if astream:
        works["async_stream"] = at_once(astream, 1)
        works["streams_at_once"] = at_once(astream, STREAMS)
    if achat:
        works["chats_at_once"] = at_once(achat, CALLS)
    if embed:
        names = {"float": "embed_floats", "base64": "embed_base64"}
        works |= {names[encoding]: repeated(partial(embed, encoding)) for encoding in encodings}
    measured(works)


def measured(works):
    """Answers the lines of standard input, to its end."""
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
    """A work whose unit is a chunk."""

    def work(count):
        return sum(read() for _ in range(count))

    return work


def at_once(call, width):
    """As `width` tasks at the same time, each `count` times; the call says how many units it was."""

    async def one(count):
        return sum([await call() for _ in range(count)])

    async def work(count):
        return sum(await asyncio.gather(*(one(count) for _ in range(width))))

    return work
