"""What hooks are told of calls, and what they can do to them: synchronous, on asyncio and on trio."""

from __future__ import annotations

import gc
import json
import logging
import threading
import warnings
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from mistral_client import (
    ArgumentError,
    AuthenticationError,
    ConfigurationError,
    Hooks,
    MistralAsyncClient,
    MistralClient,
    MistralConnectionException,
    RateLimitError,
    ServerError,
    StreamInterrupted,
)

from .conftest import HELLO, chunk, chunked_head, http, reset
from .test_chunks import EVENTS, TEXT
from .test_clients import BUSY, KEY, OK, STREAM, UNAUTHORIZED, header, text_of


class Recorder(Hooks):
    """Keeps what it is told, in order."""

    def __init__(self):
        self.told = []
        self.ended = threading.Event()

    def before_request(self, request):
        request.headers["X-Attempt"] = request.headers.get("X-Attempt", "") + str(request.number)
        self.told.append(request)

    def after_attempt(self, attempt):
        self.told.append(attempt)

    def on_chunk(self, call, chunk):
        self.told.append(chunk)

    def after_call(self, call):
        self.told.append(call)
        self.ended.set()

    def kinds(self):
        return [type(what).__name__.removesuffix("Info") for what in self.told]

    def of(self, kind):
        return [what for what in self.told if type(what).__name__ == kind + "Info"]


class AwaitingRecorder(Recorder):
    async def before_request(self, request):
        await anyio.lowlevel.checkpoint()
        super().before_request(request)

    async def after_attempt(self, attempt):
        await anyio.lowlevel.checkpoint()
        super().after_attempt(attempt)

    async def after_call(self, call):
        await anyio.lowlevel.checkpoint()
        super().after_call(call)


@pytest.fixture
def recorder(flavour):
    return Recorder() if flavour == "sync" else AwaitingRecorder()


def test_a_call(make_client, raw_server, recorder):
    server = raw_server([OK, None])
    client = make_client(KEY, server.url, hooks=[recorder])
    answer = client.chat(HELLO, "m", temperature=0.5)
    assert recorder.kinds() == ["Request", "Attempt", "Call"]
    request, attempt, call = recorder.told
    assert request.call is attempt.call is call
    assert (request.number, request.method, request.url) == (1, "POST", server.url + "/v1/chat/completions")
    assert (attempt.number, attempt.status, attempt.error) == (1, 200, None)
    assert attempt.headers["content-type"] == "application/json"
    assert (call.method, call.path, call.url) == ("POST", "/v1/chat/completions", request.url)
    assert call.arguments == {"model": "m", "messages": HELLO, "temperature": 0.5}
    assert (call.answer, call.id, call.model, call.usage) == (answer, answer.id, answer.model, answer.usage)
    assert (call.finish_reasons, call.attempts, call.error, call.first_chunk) == (("stop",), 1, None, None)
    assert 0 < attempt.seconds <= call.seconds
    assert header(server.requests[0], "x-attempt") == "1"


def test_every_call_is_told_of_for_itself(make_client, raw_server, recorder):
    server = raw_server(
        [http(b'{"object":"list","data":[]}'), None],
        [OK, None],
    )
    client = make_client(KEY, server.url, hooks=[recorder])
    client.list_models()
    client.completion("m", "def f(")
    models, fim = recorder.of("Call")
    assert models is not fim
    assert (models.method, models.path, models.arguments, models.model) == ("GET", "/v1/models", {}, None)
    assert fim.arguments == {"model": "m", "prompt": "def f("}
    assert fim.finish_reasons == ("stop",)


def test_retries(make_client, raw_server, recorder):
    server = raw_server([BUSY], [reset], [OK, None])
    make_client(KEY, server.url, hooks=[recorder]).chat(HELLO, "m")
    assert recorder.kinds() == ["Request", "Attempt"] * 3 + ["Call"]
    busy, broken, fine = recorder.of("Attempt")
    assert (busy.number, busy.status, type(busy.error)) == (1, 429, RateLimitError)
    assert busy.headers["retry-after-ms"] == "20"
    assert (busy.error.attempts, busy.error.host) == (1, server.url.removeprefix("http://"))
    assert (broken.number, broken.status, broken.headers) == (2, None, {})
    assert isinstance(broken.error, MistralConnectionException)
    assert (fine.number, fine.status, fine.error) == (3, 200, None)
    assert recorder.of("Call")[0].attempts == 3
    assert [header(request, "x-attempt") for request in server.requests] == ["1", "2", "3"], "each begins anew"
    assert len({header(request, "idempotency-key") for request in server.requests}) == 1


def test_a_failure(make_client, raw_server, recorder):
    server = raw_server([UNAUTHORIZED])
    with pytest.raises(AuthenticationError) as raised:
        make_client(KEY, server.url, hooks=[recorder]).chat(HELLO, "m")
    assert recorder.kinds() == ["Request", "Attempt", "Call"]
    assert recorder.told[1].error is recorder.told[2].error is raised.value
    assert (recorder.told[2].answer, recorder.told[2].finish_reasons) == (None, ())


@pytest.mark.parametrize("entered", [True, False], ids=["entered", "iterated"])
def test_a_stream(make_client, raw_server, recorder, entered):
    server = raw_server([*STREAM, None])
    stream = make_client(KEY, server.url, hooks=[recorder]).chat_stream(HELLO, "m")
    assert recorder.told == [], "nothing is sent yet"
    if entered:
        with stream:
            chunks = list(stream)
    else:
        chunks = list(stream)
    assert [what for what in recorder.told if type(what) is type(chunks[0])] == chunks
    assert recorder.kinds()[0] == "Request"
    assert recorder.kinds()[-1] == "Call"
    attempt, call = recorder.of("Attempt")[0], recorder.of("Call")[0]
    assert len(recorder.of("Call")) == 1
    assert (attempt.status, attempt.error) == (200, None)
    assert (call.streamed, call.answer, call.error, call.attempts) == (True, None, None, 1)
    assert (call.id, call.model, call.usage, call.finish_reasons) == ("1", "m", chunks[-1].usage, ("stop",))
    assert 0 < call.first_chunk <= call.seconds


def test_a_stream_that_begins_at_the_second_attempt(make_client, raw_server, recorder):
    server = raw_server([chunked_head(), chunk(EVENTS[0]), reset], STREAM)
    assert text_of(make_client(KEY, server.url, hooks=[recorder]).chat_stream(HELLO, "m")) == TEXT
    broken, fine = recorder.of("Attempt")
    assert isinstance(broken.error, StreamInterrupted)
    assert (fine.number, fine.error) == (2, None)
    call = recorder.of("Call")[0]
    assert (call.attempts, call.finish_reasons) == (2, ("stop",))
    assert call.first_chunk > broken.seconds, "the first chunk of the attempt that counts"


def test_a_stream_that_never_begins(make_client, raw_server, recorder):
    server = raw_server([BUSY])
    with pytest.raises(RateLimitError) as raised:
        list(make_client(KEY, server.url, 0, hooks=[recorder]).chat_stream(HELLO, "m"))
    assert recorder.kinds() == ["Request", "Attempt", "Call"]
    assert recorder.told[-1].error is raised.value


def test_a_stream_that_breaks(make_client, raw_server, recorder):
    server = raw_server([chunked_head(), *map(chunk, EVENTS[:2]), reset])
    with pytest.raises(StreamInterrupted) as raised:
        list(make_client(KEY, server.url, hooks=[recorder]).chat_stream(HELLO, "m"))
    assert len(recorder.of("Call")) == 1
    call = recorder.of("Call")[0]
    assert call.error is raised.value
    assert call.finish_reasons == ()
    assert call.error.attempts == 1


def test_a_stream_that_is_closed(make_client, raw_server, recorder):
    server = raw_server([chunked_head(), *map(chunk, EVENTS[:2]), 30.0])
    stream = make_client(KEY, server.url, hooks=[recorder]).chat_stream(HELLO, "m")
    next(stream)
    assert recorder.of("Call") == []
    stream.close()
    stream.close()
    assert len(recorder.of("Call")) == 1
    assert (recorder.of("Call")[0].error, recorder.of("Call")[0].finish_reasons) == (None, ())


def test_a_stream_that_is_dropped(make_client, raw_server, recorder):
    server = raw_server([chunked_head(), *map(chunk, EVENTS[:2]), 30.0])
    stream = make_client(KEY, server.url, hooks=[recorder]).chat_stream(HELLO, "m")
    next(stream)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        del stream
        gc.collect()
        assert recorder.ended.wait(10)
    assert len(recorder.of("Call")) == 1


def test_a_stream_that_is_never_read(make_client, recorder):
    make_client(KEY, "http://127.0.0.1:9", hooks=[recorder]).chat_stream(HELLO, "m").close()
    assert recorder.told == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_call_that_is_cancelled(raw_server, backend, streamed):
    recorder = AwaitingRecorder()
    server = raw_server([*([chunked_head(), chunk(EVENTS[1])] if streamed else []), 30.0])

    async def ask(client):
        if not streamed:
            await client.chat(HELLO, "m")
        async for _ in client.chat_stream(HELLO, "m"):
            begun.set()

    async def run():
        async with MistralAsyncClient(KEY, server.url, hooks=[recorder]) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, client)
                with anyio.fail_after(10):
                    while not (begun.is_set() if streamed else server.requests):  # noqa: ASYNC110  # the server is a thread
                        await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
            assert isinstance(recorder.of("Call")[0].error, anyio.get_cancelled_exc_class())

    begun = threading.Event()

    anyio.run(run, backend=backend)
    assert recorder.kinds()[0] == "Request"
    assert len(recorder.of("Attempt")) == streamed
    assert len(recorder.of("Call")) == 1


def test_a_call_that_is_abandoned(raw_server):
    """Its coroutine is closed, and can await nothing more."""
    recorder = AwaitingRecorder()
    server = raw_server([30.0])

    async def run():
        async with MistralAsyncClient(KEY, server.url, hooks=[recorder]) as client:
            call = client.chat(HELLO, "m")
            while not recorder.told:
                call.send(None)
            call.close()

    anyio.run(run)
    assert recorder.kinds() == ["Request"]


class Failing(Hooks):
    def __init__(self, *moments):
        for moment in moments:
            setattr(self, moment, partial(self.fail, moment))

    def fail(self, moment, *_):
        raise LookupError(f"{moment} of the hook")

    def on_chunk(self, call, chunk):
        self.fail("on_chunk")


def test_an_exception_before_a_request_ends_the_call(make_client, raw_server, recorder):
    server = raw_server([OK])
    client = make_client(KEY, server.url, hooks=[Failing("before_request"), recorder])
    with pytest.raises(LookupError, match="before_request of the hook") as raised:
        client.chat(HELLO, "m")
    assert server.requests == []
    assert recorder.kinds() == ["Call"]
    assert recorder.told[0].error is raised.value


def test_an_exception_in_another_method_is_logged_and_changes_nothing(make_client, raw_server, recorder, caplog):
    server = raw_server([BUSY, None], [*STREAM, None])
    client = make_client(KEY, server.url, hooks=[Failing("after_attempt", "after_call"), recorder])
    with caplog.at_level(logging.ERROR):
        assert text_of(client.chat_stream(HELLO, "m")) == TEXT
    told = [f"Failing.{name} has failed" for name in ("after_attempt", "on_chunk", "after_call")]
    assert [record.getMessage() for record in caplog.records] == [
        told[0],
        *[told[1]] * 2,
        told[0],
        *told[1:2] * 2,
        told[2],
    ]
    assert all(record.name == "mistral_client" and record.exc_info for record in caplog.records)
    assert recorder.kinds()[-1] == "Call"
    assert KEY not in caplog.text


def test_what_is_no_hook_is_refused(flavour):
    kind = MistralClient if flavour == "sync" else MistralAsyncClient

    class AwaitingChunks(Hooks):
        async def on_chunk(self, call, chunk): ...

    for wrong, words in [
        (Recorder, "not an instance of Hooks"),
        (print, "not an instance of Hooks"),
        (AwaitingChunks(), "AwaitingChunks.on_chunk is asynchronous"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            kind(KEY, hooks=[wrong])
    if flavour == "sync":
        with pytest.raises(ConfigurationError, match=r"AwaitingRecorder\.before_request is asynchronous"):
            kind(KEY, hooks=[AwaitingRecorder()])


def test_what_turns_out_to_be_asynchronous_is_refused(raw_server):
    server = raw_server([OK])
    hidden = Hooks()
    hidden.before_request = lambda request: AwaitingRecorder().before_request(request)
    with (
        MistralClient(KEY, server.url, hooks=[hidden]) as client,
        pytest.raises(ConfigurationError, match="needs a MistralAsyncClient"),
    ):
        client.chat(HELLO, "m")
    assert server.requests == []


class Setting(Hooks):
    """Sets headers, or takes them away."""

    def __init__(self, **headers):
        self.headers = headers
        self.seen = []

    def before_request(self, request):
        self.seen.append(dict(request.headers))
        for name, value in self.headers.items():
            if value is None:
                del request.headers[name]
            else:
                request.headers[name] = value


def test_headers_can_be_set_and_taken_away(make_client, raw_server):
    server = raw_server([OK, None])
    first, second = Setting(**{"X-Team": "cheese", "Idempotency-Key": None}), Setting()
    make_client(KEY, server.url, hooks=[first, second]).chat(HELLO, "m", extra_headers={"x-mine": "yes"})
    assert header(server.requests[0], "x-team") == "cheese"
    assert header(server.requests[0], "x-mine") == "yes"
    assert header(server.requests[0], "idempotency-key") == ""
    assert first.seen[0].keys() == {"Accept", "Accept-Encoding", "Content-Type", "Idempotency-Key", "x-mine"}
    assert second.seen[0].keys() == {"Accept", "Accept-Encoding", "Content-Type", "x-mine", "X-Team"}


def test_headers_that_cannot_be_sent_end_the_call(make_client, raw_server, recorder):
    server = raw_server([OK])
    client = make_client(KEY, server.url, hooks=[Setting(**{"X-Team": "che\r\nese"}), recorder])
    with pytest.raises(ArgumentError, match="before_request: 'X-Team' cannot be sent"):
        client.chat(HELLO, "m")
    assert server.requests == []
    assert isinstance(recorder.of("Call")[0].error, ArgumentError)


OTHER = "other-KEY-9876543210"


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_a_key_of_a_hook_is_sent_in_place_of_the_clients_and_hidden_as_well(make_client, raw_server, recorder, name):
    echo = http(
        json.dumps({"message": f"{OTHER} is no key"}).encode(), "401 No", "application/json", f"x-echo: {OTHER}"
    )
    server = raw_server([echo])
    client = make_client(KEY, server.url, hooks=[Setting(**{name: f"Bearer {OTHER}"}), recorder])
    with pytest.raises(AuthenticationError) as raised:
        client.chat(HELLO, "m")
    head = server.requests[0].partition(b"\r\n\r\n")[0].lower()
    assert head.count(b"authorization:") == 1
    assert f"bearer {OTHER}".lower().encode() in head
    assert raised.value.message == "*** is no key"
    assert recorder.of("Attempt")[0].headers["x-echo"] == "***"


def test_hooks_do_not_see_secrets(make_client, raw_server, recorder):
    echo = http(json.dumps({"message": f"{KEY} {OTHER}"}).encode(), "500 No", "application/json", f"x-echo: {KEY}")
    server = raw_server([echo])
    secret = {"Authorization": f"Bearer {OTHER}", "X-Api-Key": OTHER, "X-Team": "cheese"}
    client = make_client(KEY, server.url, 0, hooks=[recorder])
    with pytest.raises(ServerError):
        client.chat(HELLO, "m", extra_headers=secret)
    request, attempt, call = recorder.told
    assert "X-Team" in request.headers
    seen = repr(
        [request.headers, attempt.headers, str(attempt.error), attempt.error.body, call.url, request, attempt, call]
    )
    assert KEY not in seen
    assert OTHER not in seen
    assert "hello" not in repr([request, attempt, call]), "the prompt"
    assert header(server.requests[0], "authorization") == f"Bearer {OTHER}"
    assert header(server.requests[0], "x-api-key") == OTHER


def test_the_state_is_the_calls_own(make_client, raw_server):
    class Counting(Hooks):
        def before_request(self, request):
            request.call.state[self] = request.call.state.get(self, 0) + 1

        def after_call(self, call):
            counts.append(call.state[self])

    counts = []
    server = raw_server([BUSY, None], [OK, None], [OK, None])
    client = make_client(KEY, server.url, hooks=[Counting()])
    for _ in range(2):
        client.chat(HELLO, "m")
    assert counts == [2, 1]


def test_a_hook_may_leave_out_everything(make_client, raw_server):
    server = raw_server([OK, None], [*STREAM, None])
    client = make_client(KEY, server.url, hooks=[Hooks()])
    assert client.chat(HELLO, "m").choices[0].message.content == "hi"
    assert text_of(client.chat_stream(HELLO, "m")) == TEXT
