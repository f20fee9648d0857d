"""A key is shown nowhere: a canary for a key, and all the places where one could come to light."""

from __future__ import annotations

import asyncio
import base64
import copy
import dataclasses
import gc
import io
import json
import logging
import os
import pickle
import pprint
import signal
import socket
import sys
import threading
import traceback
import types
import warnings
from collections import deque
from functools import partial
from pathlib import Path

import anyio
import h11
import httpcore
import httpx
import pydantic
import pytest

import mistral_client
from mistral_client import (
    ArgumentError,
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    Limits,
    MistralAsyncClient,
    MistralClient,
    MistralConnectionException,
    MistralException,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
    StreamTimeout,
)

from .conftest import HELLO, chunk, chunked_head, http
from .test_chunks import EVENTS
from .test_clients import OK, STREAM, UNAUTHORIZED, header

# Any piece of twelve letters holds the mark, so that half a key is found as well.
MARK = "canary"
KEY = "sk-" + "-".join([MARK] * 4)
KINDS = [MistralClient, MistralAsyncClient]
EVENT_STREAM = "text/event-stream"
HALF_A_STREAM = [b"".join([chunked_head(), *map(chunk, EVENTS[:2])])]


def shows(place):
    """Whether the mark is in a text or in bytes, as it is or in base64 at any of the three offsets."""
    data = (place.encode("utf-8", "replace") if isinstance(place, str) else place).lower()
    inside = (base64.b64encode(b"." * n + MARK.encode())[-(-8 * n // 6) : -4] for n in range(3))
    return any(mark.lower() in data for mark in (MARK.encode(), *inside))


def numbered(first, places):
    return [pytest.param(look, id=f"{n:02} {name}") for n, (name, look) in enumerate(places.items(), first)]


# --- where to look ---


def rendered(value, seen=None):
    """repr, and that of all that a value is made of, as far down as our own objects and plain containers go.

    A SecretStr is where it ends: to hold the key and not to show it is its purpose.
    """
    seen = set() if seen is None else seen
    if id(value) in seen:
        return ""
    seen.add(id(value))
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset | deque):
        parts = [*value]
    elif isinstance(value, partial):
        parts = [value.func, value.args, value.keywords]
    elif isinstance(value, types.MethodType):
        parts = [value.__self__]
    elif dataclasses.is_dataclass(value) or type(value).__module__.startswith("mistral_client"):
        parts = [getattr(value, name, None) for name in [*getattr(value, "__dict__", ()), *_slots(value)]]
    else:
        parts = []
    return "\n".join([repr(value), str(value), *(rendered(part, seen) for part in parts)])


def _slots(value):
    return [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if name[:2] != "__"]


def every_attribute(value):
    shown = []
    for name in dir(value):
        try:
            shown.append((name, getattr(value, name)))
        except AttributeError:  # of a Protocol or a property that does not apply
            shown.append((name, None))
    return repr(shown)


def pickled(value):
    """All that comes out, be it a pickle, half of one or a refusal."""
    shown = b""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        out = io.BytesIO()
        try:
            pickle.Pickler(out, protocol).dump(value)
        except (TypeError, AttributeError, pickle.PicklingError) as refusal:
            shown += repr(refusal).encode()
        shown += out.getvalue()
    return shown


def refusal_of(copied):
    def look(value):
        with pytest.raises(TypeError) as refused:
            copied(value)
        return repr(refused.value)

    return look


def _plain(value):
    """What a log of structured lines does with what it does not know."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)


CLIENT_PLACES = {
    "repr of the client": repr,
    "str of the client": str,
    "format of the client": lambda client: f"{client} {client!a}",
    "vars of the client": lambda client: repr(vars(client)),
    "vars of the client, all the way down": rendered,
    "dir of the client": lambda client: repr(dir(client)),
    "every attribute of the client": every_attribute,
    "pprint of the client": lambda client: pprint.pformat([client, vars(client)]),
    "json of the client": lambda client: json.dumps(vars(client), default=_plain, skipkeys=True),
    "repr of the config": lambda client: repr(client._config),
    "str of the config": lambda client: f"{client._config}",
    "every attribute of the config": lambda client: every_attribute(client._config),
    "asdict of the config": lambda client: repr(dataclasses.asdict(client._config)),
    "astuple of the config": lambda client: repr(dataclasses.astuple(client._config)),
    "pprint of the config": lambda client: pprint.pformat(client._config),
    "json of the config": lambda client: json.dumps(dataclasses.asdict(client._config), default=str),
    "pydantic's json of the config": lambda client: pydantic.TypeAdapter(type(client._config)).dump_json(
        client._config
    ),
    "pickle of the config": lambda client: pickled(client._config),
    "copy of the config": lambda client: repr(dataclasses.replace(client._config)),
    "pickle of the client": pickled,
    "refused pickle of the client": refusal_of(pickle.dumps),
    "refused copy of the client": refusal_of(copy.copy),
    "refused deepcopy of the client": refusal_of(copy.deepcopy),
    "bound methods": lambda client: repr([client.chat, client.close, partial(client.chat, HELLO)]),
    "vars of the transports": lambda client: repr([vars(inner) for inner in client._transports.values() if inner]),
    "pickle of the transports": lambda client: pickled([*client._transports.values()]),
}

STREAM_PLACES = {
    "repr of a stream": repr,
    "str of a stream": lambda stream: f"{stream}",
    "vars of a stream": lambda stream: repr(vars(stream)),
    "vars of a stream, all the way down": rendered,
    "every attribute of a stream": every_attribute,
    "pickle of a stream": pickled,
    "the response of a stream": lambda stream: repr([stream._response, vars(stream._response)]),
    "the request of a stream": lambda stream: repr([stream._response.request, stream._response.request.headers]),
}


def chain(error):
    """The error and all that it came from, whether a traceback would show it or not."""
    found, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return found


PACKAGES = tuple(str(Path(package.__file__).parent) for package in (mistral_client, httpx, httpcore, h11, anyio))


def locals_of(error):
    """The local variables that a traceback with them would show, in frames of ours and of what we stand on."""
    frames = [frame for one in chain(error) for frame, _ in traceback.walk_tb(one.__traceback__)]
    return "\n".join(
        f"{frame.f_code.co_name}: {name} = {_shown(value)}"
        for frame in frames
        if frame.f_code.co_filename.startswith(PACKAGES)
        for name, value in frame.f_locals.items()
    )


def _shown(value):
    """What `TracebackException(capture_locals=True)` has for it, which some Pythons cannot make of half an object."""
    try:
        return repr(value)
    except AttributeError:
        return f"half a {type(value).__name__}"


def each(look):
    return lambda error: "\n".join(map(look, chain(error)))


WORDS_OF_AN_ERROR = {
    "repr of an error": each(repr),
    "str of an error": each(str),
    "format of an error": each(lambda error: f"{error} {error!a}"),
    "args of an error": each(lambda error: repr(error.args)),
    "vars of an error": each(lambda error: repr(vars(error))),
    "notes of an error": each(lambda error: repr(getattr(error, "__notes__", None))),
    "every attribute of an error": each(every_attribute),
    "an error, all the way down": each(rendered),
    "pickle of an error": lambda error: b"".join(map(pickled, chain(error))),
    "copies of an error": each(
        lambda error: repr([vars(copied(error)) for copied in (copy.copy, copy.deepcopy)]) if vars(error) else ""
    ),
    "json of an error": each(lambda error: json.dumps(vars(error), default=str)),
    "traceback of an error": each(lambda error: "".join(traceback.format_exception(error))),
    "a logged error": each(
        lambda error: logging.Formatter().formatException((type(error), error, error.__traceback__))
    ),
}
ERROR_PLACES = {**WORDS_OF_AN_ERROR, "locals in the traceback of an error": locals_of}


def test_the_places_are_looked_into():
    """What finds nothing must be able to find something."""
    leaky = ValueError(KEY)
    leaky.add_note(KEY)
    leaky.key = KEY
    silent = {name for name, look in ERROR_PLACES.items() if not shows(look(leaky))}
    assert silent == {"locals in the traceback of an error"}, "no frame of ours took part"
    with pytest.raises(ArgumentError) as raised:
        MistralClient("x").chat(HELLO, "m", stop=[KEY, 1])
    assert shows(locals_of(raised.value)), "the caller's own argument"
    config = dataclasses.make_dataclass("Config", ["api_key"])(KEY)
    leaky = types.SimpleNamespace(_config=config, _clients={}, chat=KEY, close=None)
    for name in ("repr of the client", "vars of the client, all the way down", "json of the config"):
        assert shows(CLIENT_PLACES[name](leaky))
    assert shows(base64.b64encode(f"user:{KEY}".encode()))
    assert not shows("sk-")


# --- a client and its stream, in use ---


@pytest.fixture
def in_use(make_client, raw_server):
    """A client that has asked, and its stream that is half read."""
    server = raw_server([OK, None], [*HALF_A_STREAM, 30.0])
    client = make_client(KEY, server.url)
    client.chat(HELLO, "m")
    stream = client.chat_stream(HELLO, "m")
    next(stream)
    yield getattr(client, "_client", client), getattr(stream, "_stream", stream)
    stream.close()


@pytest.mark.parametrize("look", numbered(1, CLIENT_PLACES))
def test_a_client_does_not_show_its_key(in_use, look):
    client, _ = in_use
    assert isinstance(client, tuple(KINDS))
    assert not shows(look(client))


@pytest.mark.parametrize("look", numbered(1, CLIENT_PLACES))
@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_client_does_not_show_its_key(kind, look):
    assert not shows(look(kind(KEY, "https://api.example")))


@pytest.mark.parametrize("look", numbered(28, STREAM_PLACES))
def test_a_stream_does_not_show_the_key(in_use, look):
    _, stream = in_use
    assert not shows(look(stream))


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_stream_is_not_copied(in_use, monkeypatch, copied):
    """Two would own one connection; and half a copy has a finalizer too."""
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    _, stream = in_use
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shown = repr(copied(stream))
        except TypeError as refusal:
            shown = f"refused: {refusal}"
        gc.collect()
    assert shown.startswith("refused")
    assert not shows(shown)
    assert ignored == []


# --- errors ---


def status(words, *headers):
    return [http(b'{"message":"no","code":"1"}', words, "application/json", *headers)]


REDIRECT = [http(b"", "307 Temporary Redirect", "text/plain", "location: https://elsewhere.example/")]
FAILURES = {
    "400": (InvalidRequestError, "chat", status("400 Bad Request"), {}),
    "401": (AuthenticationError, "chat", [UNAUTHORIZED], {}),
    "401 for a stream": (AuthenticationError, "chat_stream", [UNAUTHORIZED], {}),
    "403": (PermissionDeniedError, "chat", status("403 Forbidden"), {}),
    "404": (NotFoundError, "list_models", status("404 Not Found"), {}),
    "429": (RateLimitError, "chat", status("429 Too Many Requests"), {}),
    "429 with a wish": (RateLimitError, "embeddings", status("429 Too Many Requests", "retry-after: 90"), {}),
    "503": (ServerError, "chat", status("503 Service Unavailable"), {}),
    "redirect": (ProtocolError, "chat", REDIRECT, {}),
    "refused": (MistralConnectionException, "chat", None, {}),
    "no TLS": (MistralConnectionException, "chat", [OK], {"scheme": "https:"}),
    "closed at once": (MistralConnectionException, "chat", [], {}),
    "cut body": (MistralConnectionException, "chat", [OK[:-1]], {}),
    "no HTTP": (MistralException, "chat", [b"SSH-2.0-OpenSSH_9.6\r\n"], {}),
    "silence": (RequestTimeout, "chat", [30.0], {"timeout": 0.1}),
    "deadline": (RequestTimeout, "chat", [30.0], {"deadline": 0.1}),
    "no JSON": (ProtocolError, "chat", [http(b"{")], {}),
    "field missing": (ProtocolError, "chat", [http(b"{}")], {}),
    "page": (ProtocolError, "chat", [http(b"<h1>hello</h1>", "200 OK", "text/html")], {}),
    "too large": (ProtocolError, "chat", [OK], {"limits": Limits(response=10)}),
    "odd compression": (
        ProtocolError,
        "chat",
        [http(b"", "200 OK", "application/json", "content-encoding: br")],
        {},
    ),
    "no stream": (ProtocolError, "chat_stream", [OK], {}),
    "cut stream": (StreamInterrupted, "chat_stream", HALF_A_STREAM, {}),
    "silent stream": (StreamTimeout, "chat_stream", [*HALF_A_STREAM, 30.0], {"timeout": 0.1}),
    "error in a stream": (
        ServerError,
        "chat_stream",
        [*HALF_A_STREAM, chunk(b'data: {"error":{"message":"full"}}\n\n')],
        {},
    ),
    "no chunk in a stream": (ProtocolError, "chat_stream", [*HALF_A_STREAM, chunk(b"data: {\n\n")], {}),
    "wrong argument": (ArgumentError, "chat", [OK], {"options": {"top_p": 2}}),
    "argument that is no JSON": (ArgumentError, "chat", [OK], {"options": {"extra_body": {"x": object()}}}),
    "header with a newline": (MistralException, "chat", [OK], {"options": {"extra_headers": {"X-Team": "a\nb"}}}),
    "header that is no text": (Exception, "chat", [OK], {"options": {"extra_headers": {"X-Team": 7}}}),
    "header that is not ASCII": (Exception, "chat", [OK], {"options": {"extra_headers": {"X-Team": "équipe"}}}),
}
ARGUMENTS = {"chat": (HELLO, "m"), "chat_stream": (HELLO, "m"), "embeddings": ("m", "x"), "list_models": ()}


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def failed(make_client, raw_server, kind, call, script, more):
    """The error of such a call. No frame of the tests is of interest, so who calls this may hold the key."""
    more = {"key": KEY, "scheme": "http:", "options": {}, **more}
    key, scheme, options = (more.pop(name) for name in ("key", "scheme", "options"))
    url = closed_port() if script is None else raw_server(script).url
    client = make_client(key, url.replace("http:", scheme), max_retries=0, **more)
    with pytest.raises(kind) as raised:
        [*getattr(client, call)(*ARGUMENTS[call], **options)]
    return raised.value


@pytest.mark.parametrize(("kind", "call", "script", "more"), FAILURES.values(), ids=FAILURES)
def test_an_error_does_not_show_the_key(make_client, raw_server, kind, call, script, more):
    error = failed(make_client, raw_server, kind, call, script, more)
    shown = [name for name, look in ERROR_PLACES.items() if shows(look(error))]
    assert shown == []


@pytest.mark.parametrize("look", numbered(36, ERROR_PLACES))
@pytest.mark.parametrize("failure", ["401", "refused", "cut stream"])
def test_a_place_of_an_error_does_not_show_the_key(make_client, raw_server, failure, look):
    assert not shows(look(failed(make_client, raw_server, *FAILURES[failure])))


@pytest.mark.parametrize("failure", ["header that is no text", "header that is not ASCII"])
def test_a_header_that_cannot_be_sent_is_a_typed_error(make_client, raw_server, failure):
    error = failed(make_client, raw_server, *FAILURES[failure])
    assert isinstance(error, MistralException)


def test_a_closed_client_does_not_show_its_key(make_client, raw_server):
    client = make_client(KEY, raw_server([OK]).url)
    client.chat(HELLO, "m")
    client.close()
    with pytest.raises(RuntimeError, match="closed") as raised:
        client.chat(HELLO, "m")
    assert [name for name, look in ERROR_PLACES.items() if shows(look(raised.value))] == []


def test_an_environment_that_cannot_be_used_does_not_show_the_key(make_client, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://proxy")
    client = make_client(KEY, "https://api.example")
    with pytest.raises(ConfigurationError) as raised:
        client.chat(HELLO, "m")
    assert [name for name, look in ERROR_PLACES.items() if shows(look(raised.value))] == []


def test_a_cancelled_call_does_not_show_the_key(raw_server):
    server = raw_server([30.0])

    async def ask():
        async with MistralAsyncClient(KEY, server.url) as client, asyncio.timeout(0.1):
            await client.chat(HELLO, "m")

    with pytest.raises(TimeoutError) as raised:
        asyncio.run(ask())
    assert any(isinstance(error, asyncio.CancelledError) for error in chain(raised.value))
    assert not shows(locals_of(raised.value))


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no such signals here")
def test_an_interrupted_call_does_not_show_the_key(raw_server):
    def interrupt(_):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    server = raw_server([0.05, interrupt, 30.0])
    with MistralClient(KEY, server.url) as client, pytest.raises(KeyboardInterrupt) as raised:
        client.chat(HELLO, "m")
    assert "handle_request" in locals_of(raised.value)
    assert not shows(locals_of(raised.value))


# --- the world around a client ---


DAYS = {}


@pytest.fixture
def day(flavour, request):
    """What can be seen from outside while a client works, fails, streams and is left; the same for all that look."""
    if flavour not in DAYS:
        names = ("make_client", "raw_server", "caplog", "capfd")
        DAYS[flavour] = lived(flavour, *map(request.getfixturevalue, names))
    return DAYS[flavour]


def lived(flavour, make_client, raw_server, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.DEBUG)
    seen = types.SimpleNamespace(before=dict(os.environ), threads=[], tasks=[], requests_alive=[])

    def look_around(_):
        seen.threads += [repr(thread) for thread in threading.enumerate()]
        # Those of other tests may still be alive.
        requests = [
            one
            for one in gc.get_objects()
            if isinstance(one, httpx.Request | httpx.Response) and str(one.url).startswith(server.url)
        ]
        seen.requests_alive += [f"{one} {one!r} {one.headers!r} {one.headers}" for one in requests]
        seen.tasks += [repr(task) for task in gc.get_objects() if isinstance(task, asyncio.Task)]

    server = raw_server(
        [look_around, OK, None],
        [UNAUTHORIZED],
        [http(b"{}", "503 Service Unavailable")],
        STREAM,
        [*HALF_A_STREAM, 30.0],
        [http(b"", "308 Permanent Redirect", "text/plain", "location: /elsewhere")],
        [http(json.dumps({"object": "list", "data": []}).encode())],
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client = make_client(KEY, server.url, 0)
        client.chat(HELLO, "m")
        for kind in (AuthenticationError, ServerError):
            with pytest.raises(kind):
                client.chat(HELLO, "m")
        [*client.chat_stream(HELLO, "m")]
        stream = client.chat_stream(HELLO, "m")
        next(stream)
        del stream
        gc.collect()
        with pytest.raises(ProtocolError):
            client.chat(HELLO, "m")
        client.list_models()
        seen.exc_info = [sys.exc_info(), *(getattr(sys, f"last_{name}", None) for name in ("type", "value"))]
        refused = make_client(KEY, closed_port(), 0)
        with pytest.raises(MistralConnectionException):
            refused.chat(HELLO, "m")
        gc.collect()
    seen.flavour = flavour
    seen.after = dict(os.environ)
    seen.records = [*caplog.records]
    seen.log = caplog.text
    seen.warnings = caught
    seen.out, seen.err = capfd.readouterr()
    seen.requests = [*server.requests]
    logging.getLogger("asyncio").setLevel(logging.NOTSET)
    return seen


def log_of(name, *, written):
    def look(day):
        lines = [record.getMessage() for record in day.records if record.name.startswith(name)]
        assert lines or not written
        return "\n".join(lines)

    return look


def lines_of(request, *, but=()):
    first, *lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return b"\n".join([first, *(line for line in lines if not line.lower().startswith(tuple(but)))])


def warned(look):
    def shown(day):
        dropped = [warning for warning in day.warnings if warning.category is ResourceWarning]
        assert len(dropped) == 1
        return "\n".join(map(look, day.warnings))

    return shown


WORLD_PLACES = {
    "log of the root": lambda day: day.log,
    "log of mistral_client": log_of("mistral_client", written=True),
    "log of httpx": log_of("httpx", written=False),
    "log of httpcore": log_of("httpcore", written=True),
    "log of asyncio": log_of("asyncio", written=False),
    "records of the log with their arguments": lambda day: repr([vars(record) for record in day.records]),
    "pickles of the log's records": lambda day: b"".join(pickled(vars(record)) for record in day.records),
    "warnings": warned(lambda one: warnings.formatwarning(one.message, one.category, one.filename, one.lineno)),
    "sources of warnings": warned(lambda one: rendered(one.source)),
    "stdout": lambda day: day.out,
    "stderr": lambda day: day.err,
    "the environment": lambda day: repr([day.after, "" if day.before == day.after else KEY]),
    "names of threads": lambda day: repr(day.threads or KEY),
    "tasks of asyncio": lambda day: repr(day.tasks or (KEY if day.flavour == "asyncio" else "")),
    "sys.exc_info afterwards": lambda day: repr(day.exc_info),
    "requests that the collector sees": lambda day: repr(day.requests_alive or KEY),
    "request line": lambda day: b"".join(request.partition(b"\r\n")[0] for request in day.requests),
    "User-Agent": lambda day: " ".join(header(request, "user-agent") for request in day.requests),
    "headers but for one": lambda day: b"\n".join(
        lines_of(request, but=[b"authorization:"]) for request in day.requests
    ),
    "bodies of requests": lambda day: b"".join(request.partition(b"\r\n\r\n")[2] for request in day.requests),
}


@pytest.mark.parametrize("look", numbered(50, WORLD_PLACES))
def test_the_world_does_not_see_the_key(day, look):
    assert len(day.requests) == 7
    assert not shows(look(day))


def test_the_key_is_sent_once_in_each_request(day):
    assert {request.count(KEY.encode()) for request in day.requests} == {1}
    assert {header(request, "authorization") for request in day.requests} == {f"Bearer {KEY}"}


def test_an_error_that_is_kept_keeps_no_request(raw_server):
    """gc sees what a debugger would: the error itself, not the frames that it went through."""
    server = raw_server([UNAUTHORIZED])
    with MistralClient(KEY, server.url) as client:
        with pytest.raises(AuthenticationError) as raised:
            client.chat(HELLO, "m")
        gc.collect()
        alive = [
            one for one in gc.get_objects() if isinstance(one, httpx.Request) and str(one.url).startswith(server.url)
        ]
    assert alive == []
    assert raised.value.http_status == 401


# --- a server that sends the key back ---


def told(message):
    return {"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": "1"}


def refused(body, *headers, words="401 Unauthorized", content_type="application/json"):
    return [http(body if isinstance(body, bytes) else json.dumps(body).encode(), words, content_type, *headers)]


def in_stream(data):
    return [*HALF_A_STREAM, chunk(b"data: " + json.dumps(data).encode() + b"\n\n")]


INCORRECT = f"Incorrect API key provided: {KEY}. You can find your key at https://example.com/keys."
HALF = len(KEY) // 2
ECHOES = {
    "in the message": ("chat", refused(told(INCORRECT))),
    "in OpenAI's message": ("chat", refused({"error": {"message": INCORRECT, "type": "x", "code": "invalid_api_key"}})),
    "in the detail": ("chat", refused({"detail": INCORRECT})),
    "in a list of details": ("chat", refused({"detail": [{"loc": ["header"], "msg": INCORRECT, "input": KEY}]})),
    "in a header of the body": ("chat", refused({**told("no"), "headers": {"Authorization": f"Bearer {KEY}"}})),
    "in the code": ("chat", refused({**told("no"), "code": KEY})),
    "in the type": ("chat", refused({**told("no"), "type": KEY})),
    "in the request id": ("chat", refused({"message": "no", "request_id": KEY})),
    "in plain text": ("chat", refused(INCORRECT.encode(), content_type="text/plain")),
    "in a page": ("chat", refused(f"<p>{INCORRECT}</p>".encode(), content_type="text/html")),
    "in a header": ("chat", refused(told("no"), f"www-authenticate: Bearer realm={KEY}")),
    "in the header of the request id": ("chat", refused(told("no"), f"x-request-id: {KEY}")),
    "as the type of the content": ("chat", refused(b"{}", words="200 OK", content_type=KEY)),
    "as the compression": ("chat", refused(b"", f"content-encoding: {KEY}", words="200 OK")),
    "in the place of a redirect": (
        "chat",
        refused(b"", f"location: https://login.example/?key={KEY}", words="302 Found"),
    ),
    "in a 400": ("chat", refused(told(INCORRECT), words="400 Bad Request")),
    "in a 429": ("chat", refused(told(INCORRECT), words="429 Too Many Requests")),
    "in a 503": ("chat", refused(told(INCORRECT), words="503 Service Unavailable")),
    "in a 200 that is an error": ("chat", refused({"error": {"message": INCORRECT}}, words="200 OK")),
    "in a 200 that is a page": ("chat", refused(INCORRECT.encode(), words="200 OK", content_type="text/html")),
    "in a 200 with a header and a field missing": ("chat", refused({"x": KEY}, f"x-echo: {KEY}", words="200 OK")),
    "in what is no HTTP": ("chat", [f"401 {KEY} {KEY}\r\n\r\n".encode()]),
    "in what is no header": ("chat", [f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()]),
    "cut by the length of a message": ("chat", refused(told("x" * (500 - HALF) + KEY))),
    "cut by the length of a body": ("chat", refused(b"x" * (500 - HALF) + KEY.encode(), content_type="text/plain")),
    "cut by the length of plain text": (
        "chat",
        refused(b"x" * (200 - HALF) + KEY.encode(), content_type="text/plain"),
    ),
    "cut by the length of a page": (
        "chat",
        refused(b"x" * (200 - HALF) + KEY.encode(), words="200 OK", content_type="text/plain"),
    ),
    "escaped in JSON": ("chat", refused(json.dumps(told(INCORRECT)).replace("canary", "\\u0063anary").encode())),
    "in an answer to a stream": ("chat_stream", refused(told(INCORRECT))),
    "in a page for a stream": ("chat_stream", refused(INCORRECT.encode(), words="200 OK", content_type="text/html")),
    "in an error of a stream": ("chat_stream", in_stream(told(INCORRECT))),
    "in OpenAI's error of a stream": ("chat_stream", in_stream({"error": {"message": INCORRECT}})),
    "in an event that is an error": (
        "chat_stream",
        [*HALF_A_STREAM, chunk(f"event: error\ndata: {INCORRECT}\n\n".encode())],
    ),
    "in a header of a stream that is cut": (
        "chat_stream",
        [f"HTTP/1.1 200 OK\r\ncontent-type: {EVENT_STREAM}\r\nx-echo: {KEY}\r\n\r\n".encode(), *EVENTS[:2]],
    ),
    "in a header of a stream that is silent": (
        "chat_stream",
        [f"HTTP/1.1 200 OK\r\ncontent-type: {EVENT_STREAM}\r\nx-echo: {KEY}\r\n\r\n".encode(), *EVENTS[:2], 30.0],
    ),
}


@pytest.mark.parametrize(("call", "script"), ECHOES.values(), ids=ECHOES)
def test_a_key_that_the_server_sends_back_is_masked(make_client, raw_server, call, script):
    error = failed(make_client, raw_server, MistralException, call, script, {"timeout": 0.3})
    shown = [name for name, look in WORDS_OF_AN_ERROR.items() if shows(look(error))]
    assert shown == []


@pytest.mark.parametrize("call", ["chat", "chat_stream", "embeddings", "list_models"])
def test_of_a_masked_message_the_rest_is_kept(make_client, raw_server, call):
    script = refused(told(INCORRECT), f"x-echo: <{KEY}>")
    error = failed(make_client, raw_server, AuthenticationError, call, script, {})
    assert error.message == INCORRECT.replace(KEY, "***")
    assert error.body == json.dumps(told(INCORRECT)).replace(KEY, "***")
    assert error.headers["x-echo"] == "<***>"
    assert (error.type, error.code, error.http_status) == ("invalid_request_error", "1", 401)
    assert error.args == (error.message,)
    assert error.message in str(error)
    assert pickle.loads(pickle.dumps(error)).message == error.message


def test_a_key_that_is_cut_by_the_limit_of_an_error_is_masked(make_client, raw_server):
    script = refused(INCORRECT.encode(), content_type="text/plain")
    limits = Limits(error=INCORRECT.index(KEY) + HALF)
    error = failed(make_client, raw_server, AuthenticationError, "chat", script, {"limits": limits})
    assert [name for name, look in WORDS_OF_AN_ERROR.items() if shows(look(error))] == []


@pytest.mark.parametrize(("call", "script"), [ECHOES["in the message"], ECHOES["in an error of a stream"]])
def test_a_key_that_the_server_sends_back_is_in_no_local_variable(make_client, raw_server, call, script):
    error = failed(make_client, raw_server, MistralException, call, script, {})
    assert [line[:60] for line in locals_of(error).splitlines() if shows(line)] == []


def test_a_key_that_the_server_sends_back_is_not_in_our_log(make_client, raw_server, caplog):
    """httpcore's own log at DEBUG has all headers of a response; this is about ours."""
    caplog.set_level(logging.DEBUG, "mistral_client")
    for _, script in ECHOES.values():
        failed(make_client, raw_server, MistralException, "chat", script, {"timeout": 0.2})
    lines = [record.getMessage() for record in caplog.records if record.name == "mistral_client"]
    assert len(lines) == len(ECHOES)
    assert [line for line in lines if shows(line)] == []


OF_ONE_CALL = {"key": "another", "options": {"extra_headers": {"Authorization": f"Bearer {KEY}"}}}


def test_the_key_of_one_call_is_masked_too(make_client, raw_server):
    error = failed(make_client, raw_server, AuthenticationError, "chat", refused(told(INCORRECT)), OF_ONE_CALL)
    assert error.message == INCORRECT.replace(KEY, "***")
    assert [name for name, look in WORDS_OF_AN_ERROR.items() if shows(look(error))] == []


@pytest.mark.parametrize("end", ["\n", "é"], ids=["newline", "not ASCII"])
def test_the_key_of_one_call_that_cannot_be_sent_is_not_shown(make_client, raw_server, end):
    more = {**OF_ONE_CALL, "options": {"extra_headers": {"Authorization": f"Bearer {KEY}{end}"}}}
    error = failed(make_client, raw_server, Exception, "chat", [OK], more)
    assert isinstance(error, MistralException)
    assert [name for name, look in WORDS_OF_AN_ERROR.items() if shows(look(error))] == []


# --- redirects, proxies, the environment ---


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["another port", "another host"])
def test_the_key_does_not_follow_a_redirect(make_client, raw_server, code, host):
    elsewhere = raw_server([OK])
    target = elsewhere.url.replace("127.0.0.1", host) + "/v1/chat/completions"
    server = raw_server([http(b"", f"{code} Elsewhere", "text/plain", f"location: {target}")])
    for call in ("chat", "chat_stream", "list_models"):
        with pytest.raises(ProtocolError, match="redirect") as raised:
            [*getattr(make_client(KEY, server.url), call)(*ARGUMENTS[call])]
        assert target in raised.value.message
    assert (len(server.requests), elsewhere.requests, elsewhere.connections) == (3, [], 0)


@pytest.mark.parametrize(
    "script",
    [
        [b"HTTP/1.1 200 OK\r\n\r\n", None],
        [b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"],
        [b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere.example\r\ncontent-length: 0\r\n\r\n"],
    ],
    ids=["a tunnel", "a question", "a redirect"],
)
def test_a_proxy_on_the_way_to_a_secure_server_never_sees_the_key(make_client, raw_server, monkeypatch, script):
    proxy = raw_server(script)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:secret@"))
    client = make_client(KEY, "https://api.example", 0)
    for call in ("chat", "chat_stream", "list_models"):
        with pytest.raises(MistralException):
            [*getattr(client, call)(*ARGUMENTS[call])]
    assert proxy.requests[0].startswith(b"CONNECT api.example:443 HTTP/1.1\r\n")
    assert header(proxy.requests[0], "proxy-authorization") == f"Basic {base64.b64encode(b'user:secret').decode()}"
    assert header(proxy.requests[0], "authorization") == ""
    assert not [request for request in proxy.requests if shows(request)]


PROXIES = {
    "unknown scheme": f"nonsense://user:{KEY}@proxy",
    "no port": f"http://user:{KEY}@proxy:port",
    "slash in the password": f"http://user:{KEY}/x@proxy:3128",
    "hash in the password": f"http://user:{KEY}#x@proxy:3128",
    "question mark in the password": f"http://user:{KEY}?x@proxy:3128",
    "control character in the password": f"http://user:{KEY}\x07@proxy:3128",
    "no scheme and a slash in the password": f"user:{KEY}/x@proxy:3128",
    "password in place of the host": f"http://proxy:3128@{KEY}:x",
    "without what SOCKS needs": f"socks5://user:{KEY}@proxy",
}


def refused_proxy(monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setitem(sys.modules, "socksio", None)
    with MistralClient("key", "https://api.example") as client, pytest.raises(ConfigurationError) as raised:
        client.chat(HELLO, "m")
    return raised.value


@pytest.mark.parametrize("proxy", PROXIES.values(), ids=PROXIES)
def test_the_password_of_a_proxy_is_not_shown(monkeypatch, proxy):
    error = refused_proxy(monkeypatch, proxy)
    assert [name for name, look in WORDS_OF_AN_ERROR.items() if shows(look(error))] == []


@pytest.mark.parametrize("proxy", PROXIES.values(), ids=PROXIES)
def test_the_password_of_a_proxy_is_in_no_local_variable(monkeypatch, proxy):
    error = refused_proxy(monkeypatch, proxy)
    assert [line for line in locals_of(error).splitlines() if shows(line)] == []


def test_the_password_of_a_proxy_that_cannot_be_reached_is_not_shown(make_client, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HTTPS_PROXY", closed_port().replace("://", f"://user:{KEY}@"))
    client = make_client("key", "https://api.example", 0)
    with pytest.raises(MistralConnectionException) as raised:
        client.chat(HELLO, "m")
    assert [name for name, look in ERROR_PLACES.items() if shows(look(raised.value))] == []
    assert not shows(rendered(getattr(client, "_client", client)))
    assert not shows(caplog.text)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_never_sees_what_stays_on_this_machine(make_client, raw_server, monkeypatch, variable, host):
    proxy, server = raw_server([OK]), raw_server([OK])
    monkeypatch.setenv(variable, proxy.url)
    make_client(KEY, server.url.replace("127.0.0.1", host)).chat(HELLO, "m")
    assert (proxy.connections, len(server.requests)) == (0, 1)


@pytest.mark.parametrize("key", [KEY, None])
def test_a_netrc_is_never_read(make_client, raw_server, monkeypatch, tmp_path, key):
    for name in ("netrc", ".netrc", "_netrc"):
        (tmp_path / name).write_text(f"machine 127.0.0.1 login user password {KEY}\ndefault login user password x\n")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    server = raw_server([OK])
    make_client(key, server.url).chat(HELLO, "m")
    assert header(server.requests[0], "authorization") == (f"Bearer {KEY}" if key else "")
    assert b"basic" not in server.requests[0].lower()


# --- what a client cannot be built of ---


BAD_KEYS = {
    "newline at the end": f"{KEY}\n",
    "newline at the front": f"\r\n{KEY}",
    "space": f"{KEY} {KEY}",
    "not ASCII": f"{KEY}é",
    "BOM": f"\ufeff{KEY}",
    "NUL": f"{KEY}\0",
    "lone surrogate": f"{KEY}\udcff",
    "bytes": KEY.encode(),
    "empty": "",
}


def refusal(kind, *arguments):
    """Raised by the constructor, whose caller's frame is none of ours."""
    with pytest.raises(ConfigurationError) as raised:
        kind(*arguments)
    return raised.value


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_is_none_is_refused_and_not_shown(kind, key):
    error = refusal(kind, key, "https://api.example")
    assert "key" in error.message
    assert [name for name, look in WORDS_OF_AN_ERROR.items() if shows(look(error))] == []


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_is_refused_is_in_no_local_variable(kind, key):
    error = refusal(kind, key, "https://api.example")
    assert [line for line in locals_of(error).splitlines() if shows(line)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_can_be_shown_with_local_variables(kind):
    """An error that is being reported must not be the cause of another."""
    error = refusal(kind, "", "https://api.example")
    assert traceback.TracebackException.from_exception(error, capture_locals=True).stack


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_the_environment_that_is_refused_is_in_no_local_variable(kind, monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", f"{KEY}\n")
    error = refusal(kind, None, "https://api.example")
    assert [name for name, look in ERROR_PLACES.items() if shows(look(error))] == []


ENDPOINTS = {
    "password": f"https://user:{KEY}@api.example",
    "name": f"https://{KEY}@api.example",
    "slash in the password": f"https://user:{KEY}/x@api.example",
    "hash in the password": f"https://user:{KEY}#x@api.example",
    "question mark in the password": f"https://user:{KEY}?x@api.example",
    "bracket in the password": f"https://user:[{KEY}@api.example",
    "another scheme": f"ftp://user:{KEY}@api.example",
    "no scheme": f"user:{KEY}@api.example",
    "query": f"https://api.example/v1?api_key={KEY}",
    "the key itself": KEY,
}


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_in_an_endpoint_is_refused_and_not_shown(kind, endpoint):
    error = refusal(kind, "key", endpoint)
    assert "endpoint" in error.message
    assert [name for name, look in WORDS_OF_AN_ERROR.items() if shows(look(error))] == []
