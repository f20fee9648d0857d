"""The faults of the table, met by the official clients and by ours, the synchronous ones: python -m tests.bench.peers.

Wants `openai`, `anthropic` and `mistralai` installed beside this project. Prints a table, and writes what it measured
to peers.json here. Numbers after the command are the rows to try, and then nothing is written.

One judge for all: a function for each row below. A client only says how it is built and called, which errors are its
own, and how its server's right answers look. Right means: an error of the client's own, never another's, never a wrong
success; tried again where the table of faults says so; in time. What the table asks an error to name may be in its
text, in the body that it holds or in the errors behind it. A row about something that a client's API has no word for
counts neither way, and so do rows 82 and 83: only an asynchronous client is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import importlib.metadata
import inspect
import json
import logging
import os
import pickle
import platform
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
import types
import warnings
from functools import partial
from pathlib import Path

from ..conftest import HELLO, RawServer, http
from ..faults import server as s
from ..faults.table import TABLE
from ..faults.test_rows import Held

HERE = Path(__file__).parent
RESULT = HERE / "peers.json"
KEY = "secret-KEY-0123456789"
SECONDS = 15
"""What takes longer than this hangs."""
SLOW = {46: 90, 31: 60, 32: 60, 33: 60, 80: 60}
"""Rows that may take longer: what they measure is not time."""
SLACK = 2.0
MIB = 2**20
DOWN = http(b'{"message":"down"}', "503 Service Unavailable")
PROMPT = "a prompt of my own"
JUDGES = {}


class Wrong(Exception):
    """What a client did wrong, in two or three words."""


class NotApplicable(Exception):
    """The client's API has no word for it."""


class Hangs(BaseException):
    """No `except Exception` holds it up."""


# --- the clients: how they are built and called ---


class Ours:
    package = "mistral_client"
    field = "choices"

    def __init__(self):
        import mistral_client

        self.module = mistral_client
        self.errors = (mistral_client.MistralException,)

    def make(self, url, key=KEY, retries=2, timeout=10.0, *, trust_env=True):
        return self.module.MistralClient(key, url, retries, timeout, trust_env=trust_env)

    def make_crowded(self, url):
        """A client without retries, and how many streams fill its pool."""
        return self.make(url, retries=0, timeout=0.4), 100

    def make_async(self, url):
        return self.module.MistralAsyncClient(KEY, url, 0)

    def chat(self, client, messages=HELLO, headers=None):
        return client.chat(messages, "m", extra_headers=headers)

    def text(self, answer):
        return answer.choices[0].message.content

    def stream(self, client, messages=HELLO):
        return client.chat_stream(messages, "m")

    def piece(self, chunk):
        return "".join(choice.delta.content or "" for choice in chunk.choices or [] if choice.delta)


class OpenAI(Ours):
    package = "openai"

    def __init__(self):
        import openai

        self.module = openai
        self.errors = (openai.OpenAIError,)

    def make(self, url, key=KEY, retries=2, timeout=10.0, *, trust_env=True, **options):
        if not trust_env:
            options["http_client"] = self.module.DefaultHttpxClient(trust_env=False)
        return self.module.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=retries, timeout=timeout, **options)

    def make_crowded(self, url):
        import httpx2

        pool = self.module.DefaultHttpxClient(limits=httpx2.Limits(max_connections=1))
        return self.make(url, retries=0, timeout=0.4, http_client=pool), 1

    def make_async(self, url):
        return self.module.AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0)

    def chat(self, client, messages=HELLO, headers=None):
        return client.chat.completions.create(model="m", messages=messages, extra_headers=headers)

    def stream(self, client, messages=HELLO):
        return client.chat.completions.create(model="m", messages=messages, stream=True)


class Anthropic(Ours):
    package = "anthropic"
    field = "content"

    def __init__(self):
        import anthropic

        self.module = anthropic
        self.errors = (anthropic.AnthropicError,)

    def make(self, url, key=KEY, retries=2, timeout=10.0, *, trust_env=True, **options):
        if not trust_env:
            options["http_client"] = self.module.DefaultHttpxClient(trust_env=False)
        return self.module.Anthropic(api_key=key, base_url=url, max_retries=retries, timeout=timeout, **options)

    def make_crowded(self, url):
        import httpx2

        pool = self.module.DefaultHttpxClient(limits=httpx2.Limits(max_connections=1))
        return self.make(url, retries=0, timeout=0.4, http_client=pool), 1

    def make_async(self, url):
        return self.module.AsyncAnthropic(api_key=KEY, base_url=url, max_retries=0)

    def chat(self, client, messages=HELLO, headers=None):
        return client.messages.create(model="m", messages=messages, max_tokens=5, extra_headers=headers)

    def text(self, answer):
        return answer.content[0].text

    def stream(self, client, messages=HELLO):
        return client.messages.create(model="m", messages=messages, max_tokens=5, stream=True)

    def piece(self, chunk):
        return chunk.delta.text if chunk.type == "content_block_delta" else ""


class Mistralai(Ours):
    package = "mistralai"

    def __init__(self):
        from mistralai import client
        from mistralai.client import errors, utils

        self.module, self.utils = client, utils
        self.errors = (errors.MistralError, errors.NoResponseError)
        with contextlib.suppress(ImportError):
            from mistralai.extra.exceptions import MistralClientException

            self.errors += (MistralClientException,)

    def make(self, url, key=KEY, retries=2, timeout=10.0, *, trust_env=True, **options):
        """It counts time, not retries: two or three fit into this one."""
        import httpx2

        if not trust_env:
            options["client"] = httpx2.Client(follow_redirects=True, trust_env=False)
        backoff = self.utils.BackoffStrategy(100, 400, 1.5, 600, 100)
        config = self.utils.RetryConfig("backoff" if retries else "none", backoff, retry_connection_errors=True)
        return self.module.Mistral(
            api_key=key, server_url=url, timeout_ms=int(timeout * 1000), retry_config=config, **options
        )

    def make_crowded(self, url):
        import httpx2

        pool = httpx2.Client(follow_redirects=True, limits=httpx2.Limits(max_connections=1))
        return self.make(url, retries=0, timeout=0.4, client=pool), 1

    def make_async(self, url):
        client = self.make(url, retries=0)
        return types.SimpleNamespace(chat=partial(client.chat.complete_async, HELLO, model="m"))

    def chat(self, client, messages=HELLO, headers=None):
        if isinstance(client, types.SimpleNamespace):
            return client.chat.func(messages=messages, model="m")
        return client.chat.complete(model="m", messages=messages, http_headers=headers)

    def stream(self, client, messages=HELLO):
        return client.chat.stream(model="m", messages=messages)

    def piece(self, chunk):
        return "".join(choice.delta.content or "" for choice in chunk.data.choices)


PEERS = {kind.package: kind for kind in (Ours, OpenAI, Anthropic, Mistralai)}


# --- the servers: what a right answer and an error look like to each of them ---

NOVEL = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "novel": {"deep": [1, None, "x"]},
    "choices": [
        {
            "index": 0,
            "finish_reason": "novel",
            "message": {"role": "assistant", "content": "hi", "novel": 1},
            "novel": [],
        }
    ],
    "usage": {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1, "novel_tokens": 3},
}
OTHER = {}
"""Faults that are served otherwise than in the table, by row, for the sake of a client; None where there is none."""


def named(kind, **data):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data}, ensure_ascii=False)}\n\n".encode()


def speak_anthropic():
    """Right answers and streams as Anthropic's server words them, piece by piece at the places of ours."""
    NOVEL.clear()
    words = {"type": "error", "error": {"type": "overloaded_error", "message": "no capacity"}}
    answer = {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    NOVEL.update(copy.deepcopy(answer) | {"novel": {"deep": [1, None, "x"]}, "stop_reason": "novel"})
    NOVEL["content"][0]["novel"] = []
    NOVEL["usage"]["novel_tokens"] = 3
    s.ANSWERS["chat"] = s.ANSWER = answer
    start = named("message_start", message=answer | {"content": [], "stop_reason": None})
    block = named("content_block_start", index=0, content_block={"type": "text", "text": ""})

    def delta(text):
        return named("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    stop = named("content_block_stop", index=0) + named(
        "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 3}
    )
    end = named("message_stop")
    s.EVENTS = [start + block, delta("Camem"), b": still reading\n\n", delta("bert \u2028 é"), stop, end]

    def goes_on_with(*pieces):
        return lambda connection, call: s.stream_goes_on_with(connection, call, *pieces)

    OTHER.update(
        {
            23: [lambda connection, call: connection.sendall(http(json.dumps(words).encode()))],
            66: [goes_on_with(b'event: content_block_delta\ndata: {"type": "conten\n\n')],
            67: None,
            68: [goes_on_with(f"event: error\ndata: {json.dumps(words)}\n\n".encode())],
            70: None,
            72: None,
            81: [goes_on_with(delta("bert"), stop, delta("bert"), end), s.event_twice, s.events_out_of_order],
        }
    )


def speak_openai():
    words = {"error": {"message": "no capacity", "type": "server_error", "code": "overloaded"}}
    OTHER[68] = [
        lambda connection, call: s.stream_goes_on_with(
            connection, call, f"event: error\ndata: {json.dumps(words)}\n\n".encode()
        )
    ]


# --- the judge ---


class Bench:
    """One client at one row: servers for it, and what came of its calls."""

    def __init__(self, peer):
        self.peer = peer
        self.closing = contextlib.ExitStack()

    def server(self, *scripts):
        server = RawServer(*scripts)
        self.closing.callback(server.close)
        return server

    def secure(self, certificate, *scripts):
        server = s.SecureServer(certificate, *scripts)
        self.closing.callback(server.close)
        return server

    def environment(self, **names):
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(names)

        def restore():
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

        self.closing.callback(restore)

    def patch(self, owner, name, value):
        self.closing.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)

    def ask(self, client, call="chat", **options):
        """The text of an answer, or of all chunks of a stream."""
        if call == "chat":
            return self.peer.text(self.peer.chat(client, **options))
        return "".join(self.peer.piece(chunk) or "" for chunk in self.peer.stream(client, **options))

    def error(self, work):
        """The client's own error that this must come to."""
        try:
            work()
        except Exception as error:
            if not isinstance(error, self.peer.errors):
                raise Wrong(f"bare {type(error).__name__}") from error
            return error
        raise Wrong("no error")

    def refused(self, url, call="chat", *, retries=1, timeout=10.0, within=None, **options):
        """The error of one call, in time, and how long it took."""
        client = self.peer.make(url, retries=retries, timeout=timeout)
        work = (
            (lambda: self.peer.chat(client, **options))
            if call == "chat"
            else (lambda: self.ask(client, call, **options))
        )
        started = time.monotonic()
        error = self.error(work)
        took = time.monotonic() - started
        right(within is None or took <= within, "too late")
        return error, took

    def answered(self, url, call="chat", text="hi", **options):
        """How long it took to the right answer."""
        client = self.peer.make(url, **options)
        started = time.monotonic()
        try:
            got = self.ask(client, call)
        except Exception as error:
            raise Wrong(f"fails: {type(error).__name__}") from error
        right(got == text, "text lost or added")
        return time.monotonic() - started


def right(condition, otherwise):
    if not condition:
        raise Wrong(otherwise)


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def words(error):
    """All that an error and those behind it say, or hold of the server's body."""
    return " ".join(
        f"{behind} {getattr(behind, 'message', '')} {getattr(behind, 'body', '')}" for behind in chain(error)
    )


def retried(server, wanted):
    count = len(server.requests)
    right(count >= 2 if wanted else count == 1, f"{count} request" + "s" * (count != 1))


def row(number):
    def register(function):
        JUDGES[number] = function
        return function

    return register


def faults(number):
    """How the table serves a row to a method of this client."""
    if number in OTHER:
        if OTHER[number] is None:
            raise NotApplicable
        return OTHER[number]
    served = [case.fault for case in TABLE if case.number == number and not case.name.startswith("stream-")]
    return served[:3] if number == 81 else served  # the fourth counts in a field that only some servers have


def typed(number, call="chat", *, says="", shorter=None, again=None, retries=1, timeout=10.0, within=None):
    """A row that must come to an error of the client's own."""

    def judge(bench):
        for fault in faults(number):
            server = bench.server([partial(fault, call=call)])
            error, _ = bench.refused(server.url, call, retries=retries, timeout=timeout, within=within)
            wanted = bench.peer.field if says == "FIELD" else says
            right(re.search(wanted, words(error), re.DOTALL), f"does not say {says}" if says.isalpha() else "not named")
            right(shorter is None or len(str(error)) <= shorter, "long text")
            if again is not None:
                retried(server, again)

    JUDGES[number] = judge


def port_of(url):
    return url.partition("//")[2]


# A. connecting


@row(1)
def refused_connection(bench):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    error, _ = bench.refused(f"http://{address}", within=5)
    right(address in words(error), "host not named")


@row(2)
def unknown_name(bench):
    asked = []
    real = socket.getaddrinfo

    def counting(host, *args, **options):
        asked.append(host)
        return real(host, *args, **options)

    bench.patch(socket, "getaddrinfo", counting)
    error, _ = bench.refused("http://nobody.invalid:8000", within=5)
    right(re.search("(?i)not known|not found|resol|look.?up|no address", words(error)), "not told apart")
    right(sum("nobody" in str(host) for host in asked) >= 2, "not retried")


@row(3)
def insecure(bench):
    bench.environment(SSL_CERT_FILE=str(Path(s.__file__).with_name("elsewhere.pem")))
    for server, url in [
        (one := bench.secure("here.pem", [partial(s.right, call="chat")]), one.url),
        (one := bench.secure("elsewhere.pem", [partial(s.right, call="chat")]), not_loopback(one)),
        (one := bench.server([partial(s.right, call="chat")]), one.url.replace("http:", "https:")),
    ]:
        bench.refused(url)
        right(server.connections == 1, "retried")


def not_loopback(server):
    return server.url.replace("127.0.0.1", "0.0.0.0")


@row(4)
def connecting_takes_too_long(bench):
    with s.full_queue() as address:
        bench.refused(f"http://{address}", timeout=0.4, within=2 * 0.4 + 1 + SLACK)


@row(5)
def pool_exhausted(bench):
    with contextlib.ExitStack() as streams:
        server = bench.server([Held()])
        client, size = bench.peer.make_crowded(server.url)
        for _ in range(size):
            stream = bench.peer.stream(client)
            streams.callback(stream.close)
            next(iter(stream))
        started = time.monotonic()
        error = bench.error(lambda: bench.ask(client))
        right(time.monotonic() - started < 0.4 + SLACK, "too late")
        right("pool" in str(error).lower(), "does not say pool")


typed(6, again=True)
typed(7, again=True)


@row(8)
def stale_connection(bench):
    for last in (s.close, s.reset):
        server = bench.server([partial(s.Stale(last), call="chat"), None])
        client = bench.peer.make(server.url, retries=0)
        for _ in range(3):
            try:
                right(bench.ask(client) == "hi", "wrong answer")
            except bench.peer.errors as error:
                raise Wrong("seen") from error
            except Exception as error:
                raise Wrong(f"bare {type(error).__name__}") from error


typed(9)
typed(10)

# B. bodies

typed(11, again=True)
typed(12, again=True)
typed(13, retries=0, timeout=0.4, within=0.4 + SLACK)
typed(14, retries=0, timeout=0.4, within=0.4 + SLACK)


@row(15)
def no_answer(bench):
    server = bench.server([partial(s.stall, call="chat")])
    bench.refused(server.url, timeout=0.4, within=2 * 0.4 + 1 + SLACK)
    keys = {tuple(re.findall(rb"(?i)\r\nidempotency-key: *([^\r]+)", request)) for request in server.requests}
    right(len(server.requests) == 1 or (len(keys) == 1 and keys != {()}), "replayed without key")


typed(16)
typed(17, says="text/html.*Log in to the Wi-Fi|Log in to the Wi-Fi.*text/html")
for _number in (18, 19, 20, 21, 25, 26, 28, 29):
    typed(_number)
typed(22, says="FIELD")
typed(23, says="no capacity")
typed(24, shorter=1000)


@row(27)
def lone_surrogate(bench):
    server = bench.server([partial(s.json_lone_surrogate, call="chat")])
    client = bench.peer.make(server.url, retries=0)
    kept = []
    with contextlib.suppress(Wrong):
        kept.append(bench.error(lambda: kept.append(bench.peer.chat(client))))
        return
    right(kept, "bare error")
    with contextlib.suppress(UnicodeError):
        json.dumps(kept[0].model_dump(mode="python"), ensure_ascii=False, default=str).encode()
        return
    raise Wrong("kept in the answer")


@row(30)
def what_is_new(bench):
    server = bench.server([http(json.dumps(NOVEL).encode())])
    try:
        answer = bench.peer.chat(bench.peer.make(server.url, retries=0))
    except Exception as error:
        raise Wrong(f"fails: {type(error).__name__}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right(contains(answer.model_dump(mode="json", by_alias=True), NOVEL), "dropped")


def contains(whole, part):
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and contains(whole[name], part[name]) for name in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(contains, whole, part))
    return whole == part


def bounded(bench, fault, call, most):
    """The error of a server that sends without measure, and how many bytes it got rid of."""
    sent = []
    server = bench.server([lambda connection: sent.append(fault(connection, call))])
    tracemalloc.start()
    try:
        bench.refused(server.url, call, retries=0)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    right(held < most, f"holds {held // MIB} MiB")
    server.close()
    return sent[0] if sent else 0


@row(31)
def bomb(bench):
    s.bomb()
    bounded(bench, s.gzip_bomb, "chat", 160 * MIB)


@row(32)
def bomb_in_a_bomb(bench):
    s.bomb()
    bounded(bench, s.gzip_bomb_in_gzip, "chat", 160 * MIB)


@row(33)
def endless_error(bench):
    right(bounded(bench, s.error_of_100_mib, "chat", 16 * MIB) < 16 * MIB, "all read")


# C. statuses and retries


def busy(after, date=None):
    return partial(s.too_many, call="chat", after=after, date=date)


OK = partial(s.right, call="chat")


@row(34)
def wish(bench):
    server = bench.server([busy("1")], [OK])
    right(1 <= bench.answered(server.url, retries=1) <= 1.5 + SLACK, "other wait")


@row(35)
def wish_that_is_none(bench):
    for after in ("0", "-1", "soon", "Mon, 01 Jan 2001 00:00:00 GMT"):
        server = bench.server([busy(after)], [OK])
        right(bench.answered(server.url, retries=1) <= 1.5 + SLACK, "too late")


def fails_now(number):
    def judge(bench):
        for fault in faults(number):
            server = bench.server([partial(fault, call="chat")])
            error, _ = bench.refused(server.url, within=SLACK)
            retried(server, False)
            shown = any(
                getattr(place, "retry_after", None) is not None
                or "retry-after" in (getattr(place, "headers", None) or ())
                for place in (error, getattr(error, "response", None))
            )
            right(shown, "wish not shown")

    JUDGES[number] = judge


fails_now(36)
fails_now(37)
fails_now(39)


@row(38)
def wish_beyond_numbers(bench):
    for after in ("1e999", "9" * 400, "inf"):
        bench.refused(bench.server([busy(after)]).url, within=1.5 + SLACK)


@row(40)
def date_by_the_servers_clock(bench):
    for weekday, year in (("Mon", 2001), ("Sat", 2101)):
        now, then = (f"{weekday}, 01 Jan {year} 00:00:0{second} GMT" for second in (0, 1))
        server = bench.server([busy(then, now)], [OK])
        right(1 <= bench.answered(server.url, retries=1) <= 1.5 + SLACK, "other wait")


def statuses(number, again, *codes):
    def judge(bench):
        for code in codes:
            server = bench.server([partial(s.says, call="chat", status=f"{code} Status")])
            error, _ = bench.refused(server.url)
            right("no capacity" in words(error), "message lost")
            retried(server, again)

    JUDGES[number] = judge


@row(41)
def request_timeout_and_conflict(bench):
    cases = [(partial(s.says, status="408 Status"), True)]
    cases += [
        (partial(s.conflict, code=code), again)
        for code, again in [(None, True), ("lock_timeout", True), ("duplicate_name", False)]
    ]
    for fault, again in cases:
        server = bench.server([partial(fault, call="chat")])
        bench.refused(server.url)
        retried(server, again)


@row(42)
def too_early(bench):
    server = bench.server([partial(s.says, call="chat", status="425 Too Early")])
    bench.refused(server.url, retries=3)
    right(len(server.requests) == 2, f"{len(server.requests)} requests")


statuses(43, False, 501, 505)
statuses(44, True, 520, 529)
statuses(45, False, 400, 401, 403, 404, 413, 422)


@row(46)
def server_that_is_down(bench):
    server = bench.server([DOWN])
    client = bench.peer.make(server.url)
    for _ in range(40):
        bench.error(lambda: bench.peer.chat(client))
        right(len(server.requests) <= 44, "more requests")


@row(47)
def longest_wait(bench):
    waits = []
    server = bench.server(*[[OK, None]] * 20, [DOWN, None])
    client = bench.peer.make(server.url, retries=12)
    for _ in range(20):
        bench.ask(client)
    real = time.sleep
    bench.patch(time, "sleep", lambda seconds: (waits.append(seconds), real(0.001)))
    bench.error(lambda: bench.peer.chat(client))
    right(len(waits) > 6, "few retries")
    right(len(set(waits[5:])) == len(waits[5:]), "no jitter")


@row(48)
def wall_clock(bench):
    real = time.time
    for step in (86400.0, -86400.0):

        def set_clock(_, step=step):
            time.time = lambda: real() + step

        server = bench.server([set_clock, DOWN])
        bench.patch(time, "time", real)
        bench.refused(server.url, within=1.5 + SLACK)
        time.time = real
        retried(server, True)


@row(49)
def iterator_of_messages(bench):
    server = bench.server([DOWN], [OK])
    client = bench.peer.make(server.url, retries=1)
    try:
        bench.peer.chat(client, messages=iter(HELLO))
    except Exception as error:  # noqa: BLE001 - right is only that of the one request
        right(isinstance(error, bench.peer.errors), f"bare {type(error).__name__}")
        right(len(server.requests) == 1, "fails, retried")
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.requests]
    right(all(body["messages"] == bodies[0]["messages"] for body in bodies), "another body")
    right(bodies and HELLO[0]["content"] in json.dumps(bodies[0]), "no messages sent")


# D. redirects, proxies, environment


def redirects(number, *codes):
    def judge(bench):
        for code in codes:
            elsewhere = bench.server([OK])
            target = elsewhere.url.replace("127.0.0.1", "localhost")
            server = bench.server([partial(s.redirect, call="chat", status=code, location=f"{target}/v1")])
            with contextlib.ExitStack() as after:
                after.callback(lambda elsewhere=elsewhere: right(elsewhere.connections == 0, "followed"))
                bench.refused(server.url)

    JUDGES[number] = judge


redirects(50, 307, 308)
redirects(51, 301, 302, 303)


@row(52)
def key_header_elsewhere(bench):
    elsewhere = bench.server([OK])
    target = elsewhere.url.replace("127.0.0.1", "localhost")
    server = bench.server([partial(s.redirect, call="chat", status=307, location=target)])
    client = bench.peer.make(server.url, retries=0)
    with contextlib.suppress(*bench.peer.errors):
        bench.peer.chat(client, headers={"X-Api-Key": "another secret"})
    right(b"another secret" in server.requests[0], "not sent at all")
    right(not any(b"another secret" in request for request in elsewhere.requests), "key sent elsewhere")


@row(53)
def from_https_to_http(bench):
    bench.environment(SSL_CERT_FILE=str(Path(s.__file__).with_name("here.pem")))
    server = bench.secure("here.pem", [OK])
    url = not_loopback(server)
    plain = bench.server([OK])
    server.scripts = [[partial(s.redirect, call="chat", status=307, location=not_loopback(plain))]]
    try:
        bench.refused(url)
    finally:
        right(server.requests, "TLS not as the environment says")
        right(not plain.requests, "followed")


@row(54)
def proxy_and_loopback(bench):
    proxy, server = bench.server([OK]), bench.server([OK])
    bench.environment(HTTP_PROXY=proxy.url, http_proxy=proxy.url)
    for host in ("127.0.0.1", "localhost"):
        url = server.url.replace("127.0.0.1", host)
        bench.answered(url, retries=0)
        right(proxy.connections == 0, "through the proxy")


@row(55)
def netrc(bench):
    home = bench.closing.enter_context(tempfile.TemporaryDirectory())
    file = Path(home, ".netrc")
    file.write_text("machine 127.0.0.1 login me password hunter2\ndefault login me password hunter2\n")
    file.chmod(0o600)
    bench.environment(HOME=home, NETRC=str(file))
    server = bench.server([OK])
    bench.answered(server.url, retries=0)
    right(b"basic" not in server.requests[0].lower(), "sent")


@row(56)
def certificates_of_the_environment(bench):
    bench.environment(SSL_CERT_FILE=str(Path(s.__file__).with_name("here.pem")))
    server = bench.secure("here.pem", [OK])
    bench.answered(not_loopback(server), retries=0)
    client = bench.peer.make(not_loopback(server), retries=0, trust_env=False)
    with contextlib.suppress(Exception):
        bench.peer.chat(client)
    right(len(server.requests) == 1, "trusted all the same")


@contextlib.contextmanager
def root_log():
    """All that the root logger hears at DEBUG."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(f"{record.getMessage()} {record.__dict__}")
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        root.setLevel(before)
        root.removeHandler(handler)


@row(57)
def password_in_the_url(bench):
    server = bench.server([OK])
    with root_log() as log:
        try:
            client = bench.peer.make(server.url.replace("http://", "http://me:hunter2@"), retries=0)
        except (ValueError, *bench.peer.errors) as error:
            right("hunter2" not in words(error), "shown in the error")
            return
        with contextlib.suppress(Exception):
            bench.peer.chat(client)
    right("hunter2" not in f"{client!r} {client}", "shown in repr")
    right(not any("hunter2" in record for record in log), "in the log")


# E. streams

for _number in (58, 59, 60, 61, 62, 66, 78, 79):
    typed(_number, "chat_stream", retries=0)
typed(64, "chat_stream", retries=0, timeout=0.4, within=0.4 + SLACK)
typed(65, "chat_stream", retries=0, timeout=0.4, within=0.4 + SLACK)
for _number in (67, 68, 69, 70):
    typed(_number, "chat_stream", retries=0, says="no capacity")
typed(81, "chat_stream", retries=0)


@row(63)
def reset_before_the_first_event(bench):
    reset = [partial(s.stream_reset_before_its_first_event, call="chat_stream")]
    server = bench.server(reset, reset, [partial(s.right, call="chat_stream")])
    bench.answered(server.url, "chat_stream", s.TEXT, retries=2)


def unharmed(number, *changes):
    """A stream with something in it that must change nothing."""

    def judge(bench):
        for change in changes:
            pieces = change(s.EVENTS)
            server = bench.server([lambda connection, pieces=pieces: s.stream_of(connection, "chat_stream", *pieces)])
            bench.answered(server.url, "chat_stream", s.TEXT, retries=0)

    JUDGES[number] = judge


unharmed(
    71,
    lambda events: [*events, events[1]],
    lambda events: [*events, b"data: {nonsense\n\n", b"\xff\xfe"],
    lambda events: [*events, events[-1]],
)
unharmed(
    74,
    lambda events: [b"id: 7\n\n", b"id: 7\n: ping\n\n", *events[:2], b"id: 8\n", b": ping\n\n", *events[2:]],
)
unharmed(
    75,
    lambda events: [b"event: ping\n\n", b"retry: 1000\n\n", *events[:2], b"event: ping\n\n", *events[2:]],
)
unharmed(
    77,
    lambda events: [b"\xef\xbb\xbf" + events[0], *events[1:]],
    lambda events: [b"\xef", b"\xbb", b"\xbf", *events],
)


@row(72)
def almost_done(bench):
    for fault in faults(72):
        bench.refused(bench.server([partial(fault, call="chat_stream")]).url, "chat_stream", retries=0)


@row(73)
def never_closed(bench):
    server = bench.server([Held(*s.EVENTS)])
    right(bench.answered(server.url, "chat_stream", s.TEXT, retries=0, timeout=5.0) < SLACK, "waits")


@row(76)
def broken_utf8_in_a_delta(bench):
    pieces = [s.EVENTS[0], s.EVENTS[1].replace(b"Camem", b"Ca\xffm\xe2\x82em"), *s.EVENTS[2:]]
    server = bench.server([lambda connection: s.stream_of(connection, "chat_stream", *pieces)])
    text = s.TEXT.replace("Camem", "Ca\ufffdm\ufffdem")
    bench.answered(server.url, "chat_stream", text, retries=0)


@row(80)
def endless_line(bench):
    right(bounded(bench, s.line_of_100_mib, "chat_stream", 160 * MIB) < 90 * MIB, "all read")


# F. life cycle


@row(84)
def stream_left_half_way(bench):
    held = Held()
    server = bench.server([held])
    client = bench.peer.make(server.url, retries=0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")

        def leave():
            for _ in bench.peer.stream(client):
                break

        leave()
        gc.collect()
        right(held.left.wait(SLACK), "stays open")
    right(any(issubclass(warning.category, ResourceWarning) for warning in seen), "no warning")


@row(85)
def second_event_loop(bench):
    server = bench.server([OK, None])
    client = bench.peer.make_async(server.url)

    async def main():
        answer = bench.peer.chat(client)
        return bench.peer.text(await answer if inspect.isawaitable(answer) else answer)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):
            try:
                right(asyncio.run(main()) == "hi", "wrong answer")
            except Exception as error:
                raise Wrong(f"fails: {type(error).__name__}") from error


@row(86)
def fork_after_use(bench):
    server = bench.server([OK, None])
    client = bench.peer.make(server.url, retries=0)
    bench.ask(client)
    child = os.fork()
    if child == 0:
        try:
            os._exit(42 if bench.ask(client) == "hi" else 1)
        finally:
            os._exit(1)
    right(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42, "fails in the child")
    right(bench.ask(client) == "hi", "fails in the parent")
    right(server.connections == 2, "one socket for both")


@row(87)
def copies(bench):
    server = bench.server([partial(s.says, call="chat", status="500 Oh")], [])
    client = bench.peer.make(server.url, retries=0)
    with contextlib.suppress(Exception):
        pickle.dumps(client)
        raise Wrong("client pickles")
    for _ in range(2):
        error = bench.error(lambda: bench.peer.chat(client))
        try:
            data = pickle.dumps(error)
            twin = pickle.loads(data)
        except Exception as failure:
            raise Wrong("error does not pickle") from failure
        right((type(twin), str(twin)) == (type(error), str(error)), "error pickles badly")
        right(KEY.encode() not in data, "key inside")


# G. secrets


def bad_key(number, *keys):
    def judge(bench):
        for key in keys:
            server = bench.server([OK])
            try:
                bench.peer.make(server.url, key=key)
            except (ValueError, *bench.peer.errors) as error:
                right(not isinstance(error, UnicodeError) or isinstance(error, bench.peer.errors), "bare UnicodeError")
                right("sesame" not in f"{words(error)} {error!r}", "key shown")
            else:
                raise Wrong("taken")

    JUDGES[number] = judge


bad_key(88, "sesame\n", "sesame\r\n")
bad_key(89, "sesam\u00e9-sesame", "sesame\u200b")


@row(90)
def empty_key(bench):
    server = bench.server([OK])
    try:
        bench.peer.chat(bench.peer.make(server.url, key=""))
    except Exception as error:  # noqa: BLE001 - it is judged
        right(isinstance(error, (ValueError, *bench.peer.errors)), f"bare {type(error).__name__}")
        right(re.search("(?i)key|credential|auth", str(error)), "not clear")
    else:
        raise Wrong("taken")


@row(91)
def shown(bench):
    client = bench.peer.make("http://127.0.0.1:9")
    right(KEY not in f"{client!r} {client}", "in repr")
    right(KEY not in repr(getattr(client, "__dict__", "")), "in vars")


@row(92)
def log(bench):
    messages = [{"role": "user", "content": PROMPT}]
    server = bench.server([OK], [partial(s.right, call="chat_stream")], [partial(s.says, call="chat", status="401 No")])
    client = bench.peer.make(server.url, retries=0)
    with root_log() as records:
        bench.ask(client, messages=messages)
        bench.ask(client, "chat_stream", messages=messages)
        bench.error(lambda: bench.peer.chat(client, messages=messages))
    right(not any(KEY in record for record in records), "key in the log")
    right(not any(PROMPT in record for record in records), "prompt in the log")


@row(93)
def headers_of_an_error(bench):
    server = bench.server([partial(s.says, call="chat", status="401 No")], [])
    client = bench.peer.make(server.url, retries=0)
    for _ in range(2):
        try:
            bench.peer.chat(client)
        except Exception as error:  # noqa: BLE001 - of what kind it is, other rows ask
            for behind in chain(error):
                for place in (behind, *(getattr(behind, name, None) for name in ("response", "raw_response"))):
                    with contextlib.suppress(AttributeError, RuntimeError):
                        right(KEY not in str(dict(place.request.headers)), "key on the request")
        else:
            raise Wrong("no error")


# --- the run ---


def judged(peer, number):
    """True or False and why, or None."""

    def ring(*_):
        raise Hangs

    bench = Bench(peer)
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SLOW.get(number, SECONDS), 1)
    try:
        with bench.closing:
            try:
                JUDGES[number](bench)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except Wrong as wrong:
        return False, str(wrong)
    except NotApplicable:
        return None, ""
    except Hangs:
        return False, "hangs"
    return True, ""


def work(package):
    """In a process for each client: a row's number in, what came of it out."""
    for name in [*os.environ]:
        if name.upper().endswith("_PROXY") or name.startswith(("OPENAI_", "ANTHROPIC_", "MISTRAL_")):
            del os.environ[name]
    peer = PEERS[package]()
    {"anthropic": speak_anthropic, "openai": speak_openai}.get(package, lambda: None)()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        is_right, why = judged(peer, int(line))
        print(json.dumps({"right": is_right, "why": why}), file=out, flush=True)


class Worker:
    """The process of one client. It is started anew when a row has taken it along."""

    def __init__(self, package):
        self.package = package
        self.process = None

    def judge(self, number):
        if self.process is None:
            command = [sys.executable, "-m", __spec__.name, "--worker", self.package]
            quiet = None if os.environ.get("PEERS_TRACE") else subprocess.DEVNULL
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True
            )
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        patience = SLOW.get(number, SECONDS) + 60
        line = select.select([self.process.stdout], [], [], patience)[0] and self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.close()
        return {"right": False, "why": "hangs or dies"}

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def titles():
    """The names of the rows, as they are called here."""
    names = {}
    for case in TABLE:
        names.setdefault(case.number, case.name.replace("-", " "))
    for number, judge in JUDGES.items():
        if judge.__name__ != "judge":
            names[number] = judge.__name__.replace("_", " ")
    return names | {35: "wish that is none", 43: "501 and 505", 44: "520 and 529", 45: "4xx", 50: "307 and 308",
                    51: "301 to 303", 71: "data after the end", 74: "id and comment", 75: "event without data",
                    77: "byte order mark", 88: "key with a line end", 89: "key with other letters"}  # fmt: skip


def main(rows):
    workers = {package: Worker(package) for package in PEERS}
    names = titles()
    result = {}
    print(f"{'row':>3} {'fault':30}", *(f"{package:26}" for package in PEERS))
    for number in rows or range(1, 94):
        if number not in JUDGES:
            result[number] = {package: {"right": None, "why": ""} for package in PEERS}
            continue
        result[number] = {package: worker.judge(number) for package, worker in workers.items()}
        cells = [
            {True: "right", None: "n/a", False: f"wrong: {one['why']}"}[one["right"]] for one in result[number].values()
        ]
        print(f"{number:3} {names[number]:30.30}", *(f"{cell:26.26}" for cell in cells), flush=True)
    for worker in workers.values():
        worker.close()
    percent = {}
    for package in PEERS:
        told = [one[package]["right"] for one in result.values() if one[package]["right"] is not None]
        percent[package] = round(100 * sum(told) / len(told)) if told else None
        print(f"{package}: {sum(told)} of {len(told)} right, {percent[package]} %")
    if not rows:
        versions = {package: importlib.metadata.version(package) for package in PEERS if package != "mistral_client"}
        document = {"python": platform.python_version(), "versions": versions, "percent": percent, "rows": result}
        RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2])
    else:
        main([int(word) for word in sys.argv[1:]])
