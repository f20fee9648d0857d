"""Real conversations in a file, and answers from it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mistral_client import (
    ConfigurationError,
    InvalidRequestError,
    RateLimitError,
    StreamInterrupted,
)
from mistral_client.testing import MistralServer, Request
from mistral_client.testing.answer import Answer, Event
from mistral_client.testing.recording import Recording

from ..conftest import HELLO

KEY = "sk-a-real-key-0123456789"
ORGANISATION = "org-of-the-user"
CITY = [{"role": "user", "content": "The city?"}]


@pytest.fixture
def real(mistral_server):
    """The endpoint that is recorded."""
    mistral_server.fail(429, retry_after=0.01)
    mistral_server.reply(["Par", "is ✓"])
    mistral_server.reply_embeddings({"a": [0.5]})
    mistral_server.reply_models(["m"])
    return mistral_server


@pytest.fixture
def file(tmp_path):
    return tmp_path / "recordings" / "it.jsonl"


def recording(file, real, key=KEY):
    environment = {"MISTRAL_ENDPOINT": real.url, "MISTRAL_API_KEY": key}
    server = MistralServer(record=True, recording=file, environment=environment)
    server.replay()
    return server


def talk(server):
    """A conversation of all kinds; what was answered."""
    client = server.client(max_retries=0)
    with pytest.raises(RateLimitError) as caught:
        client.chat(model="m", messages=CITY)
    return [
        (caught.value.message, caught.value.code, caught.value.retry_after),
        client.chat(model="m", messages=CITY).model_dump(),
        [chunk.model_dump() for chunk in client.chat_stream(model="m", messages=CITY)],
        client.embeddings("m", "a").model_dump(),
        client.list_models().model_dump(),
    ]


def test_what_was_recorded_is_answered_again(real, file):
    with recording(file, real) as server:
        heard = talk(server)
    asked = len(real.requests)
    for _ in range(2):
        with MistralServer(recording=file) as server:
            server.replay()
            assert talk(server) == heard
    assert len(real.requests) == asked == 5


def test_the_file_is_for_people(real, file):
    with recording(file, real) as server:
        client = server.client(max_retries=0)
        with pytest.raises(RateLimitError):
            client.list_models()
        list(client.chat_stream(model="m", messages=CITY))
    lines = file.read_text().splitlines()
    assert lines[0] == '{"request":{"method":"GET","path":"/v1/models"}}'
    assert lines[1].startswith(
        '{"response":{"status":429,"headers":{"content-type":"application/json","retry-after":"0.01"},"body":{"object":"error",'
    )
    assert lines[2] == (
        '{"request":{"method":"POST","path":"/v1/chat/completions",'
        '"body":{"model":"m","messages":[{"role":"user","content":"The city?"}],"stream":true}}}'
    )
    assert lines[3].startswith(
        '{"response":{"status":200,"headers":{"content-type":"text/event-stream; charset=utf-8"},"chunk":{"id":'
    )
    assert lines[6] == '{"event":{"choices":[{"index":0,"delta":{"content":"is ✓"},"finish_reason":null}]}}'
    assert lines[-1] == '{"event":"[DONE]"}'
    assert len(lines) == 9


def test_no_secret_gets_in(real, file):
    own = "sk-key-of-the-app-0123"
    real.reply(f"Your key is {KEY}, or {own}.", when="key")
    real.reply(["It is sk-a-real", "-key-0123", "456789!"], when="pieces")
    real.fail(401, message=f"{KEY} is wrong", when="wrong")
    with recording(file, real) as server:
        client = server.client(api_key=own)
        headers = {"OpenAI-Organization": ORGANISATION, "Cookie": f"session={ORGANISATION}", "X-Api-Key": KEY}
        for said in (f"key {KEY} {own}", "pieces"):
            messages = [{"role": "user", "content": said}]
            client.chat(model="m", messages=messages, extra_headers=headers)
            list(client.chat_stream(model="m", messages=messages, extra_headers=headers))
        with pytest.raises(Exception, match="is wrong"):
            client.chat(model="m", messages=[{"role": "user", "content": "wrong"}])
    text = file.read_text()
    for secret in (KEY, own, ORGANISATION, "sk-a-real", "0123"):
        assert secret not in text
    assert text.count("***") >= 7
    assert real.last.secrets == [KEY]  # and not the app's
    assert "openai-organization" in real.requests[0].headers
    with MistralServer(recording=file) as server:
        server.replay()
        client = server.client(api_key=own)
        answer = client.chat(model="m", messages=[{"role": "user", "content": f"key *** {own}"}])
        assert answer.choices[0].message.content == "Your key is ***, or ***."


def test_a_request_that_is_not_there_is_told(real, file):
    with recording(file, real) as server:
        talk(server)
    with MistralServer(recording=file) as server:
        server.replay()
        client = server.client()
        with pytest.raises(InvalidRequestError):
            client.chat(model="other", messages=CITY)
        with pytest.raises(AssertionError) as caught:
            server.check()
        told = str(caught.value)
        assert (
            f"{file} has no such request; record it anew with pytest --mistral-record:\n--- recorded\n+++ asked" in told
        )
        assert '-  "model": "m",\n+  "model": "other",' in told
        with pytest.raises(InvalidRequestError):
            client.completion("m", "x")
        with pytest.raises(AssertionError, match=r"record it anew with pytest --mistral-record$"):
            server.check()


def test_a_stream_that_is_left_is_recorded_whole(real, file):
    real.reply([str(number) for number in range(200)], when="left")
    messages = [{"role": "user", "content": "left"}]
    with recording(file, real) as server, server.client().chat_stream(model="m", messages=messages) as chunks:
        next(chunks)
    with MistralServer(recording=file) as server:
        server.replay()
        *_, last = server.client().chat_stream(model="m", messages=messages)
        assert last.usage.completion_tokens == 200


def test_faults_are_done_to_recordings_too(real, file):
    with recording(file, real) as server:
        talk(server)
    with MistralServer(recording=file) as server:
        server.fail(503)
        server.replay(cut_after=1)
        stream = server.client().chat_stream(model="m", messages=CITY)
        with pytest.raises(StreamInterrupted) as caught:
            list(stream)
        assert caught.value.text == "Par"
        assert [each.status for each in server.requests] == [503, 200]


def test_an_answer_that_was_never_whole_is_not_recorded(real, file):
    real.reply("lost and gone", when="lost", cut_after=1)
    messages = [{"role": "user", "content": "lost"}]
    with recording(file, real) as server:
        with pytest.raises(StreamInterrupted):
            list(server.client().chat_stream(model="m", messages=messages))
        with pytest.raises(AssertionError, match="gave no whole answer"):
            server.check()
        with pytest.raises(InvalidRequestError, match="gave no whole answer"):
            server.client().chat(model="m", messages=messages)
        with pytest.raises(AssertionError, match="gave no whole answer"):
            server.check()
    assert not file.exists()


CHOICES = st.lists(st.fixed_dictionaries({"delta": st.just({"content": "x"})}), max_size=1)
CHUNKS = st.fixed_dictionaries(
    {}, optional={"id": st.sampled_from("ab"), "model": st.just("m"), "created": st.integers(0, 1), "choices": CHOICES}
)
EVENTS = st.builds(Event, CHUNKS | st.text(), st.sampled_from(["", "error"]))


@given(st.lists(EVENTS, max_size=4))
@example([Event("\u2028\x85\ud800")])
def test_events_come_back_as_they_were(tmp_path_factory, events):
    file = tmp_path_factory.mktemp("events") / "it.jsonl"
    request = Request("POST", "/v1/chat/completions", {}, b'{"model": "m"}', 0.0)
    taken = Recording(file)
    answer = taken.take(request, Answer((event for event in events), content_type="text/event-stream"), [])
    assert list(answer.body) == events
    taken.save()
    given = Recording.read(file).answer(request)
    assert list(given.body) == events
    assert (given.status, given.content_type) == (200, "text/event-stream")


def test_the_same_file_twice_in_a_test(real, file):
    with recording(file, real) as server:
        server.replay(when="city")
        client = server.client()
        client.chat(model="m", messages=CITY)
        client.list_models()
    with MistralServer(recording=file) as server:
        server.replay(when="city")
        server.replay()
        server.client().chat(model="m", messages=CITY)
        server.client().list_models()


def test_bodies_that_are_no_json(real, file):
    real.fail(502, html="<h1>✓</h1>", when="page")
    page = [{"role": "user", "content": "page"}]
    with recording(file, real) as server, pytest.raises(Exception, match="✓"):
        server.client(max_retries=0).chat(model="m", messages=page)
    with MistralServer(recording=file) as server:
        server.replay()
        with pytest.raises(Exception, match="✓"):
            server.client(max_retries=0).chat(model="m", messages=page)


def test_events_that_are_no_chunks(real, file):
    real.reply("one two", error_after=1, when="error")
    asked = [{"role": "user", "content": "error"}]

    def told(server):
        with pytest.raises(Exception, match="Service unavailable") as caught:
            list(server.client().chat_stream(model="m", messages=asked))
        return caught.value.text, str(caught.value.code)

    with recording(file, real) as server:
        assert told(server) == ("one", "3000")
    assert json.loads(file.read_text().splitlines()[-1])["type"] == "error"
    with MistralServer(recording=file) as server:
        server.replay()
        assert told(server) == ("one", "3000")


def test_a_recording_must_be_there_and_be_one(tmp_path):
    with MistralServer() as server:
        with pytest.raises(ConfigurationError, match=r"there is no recording .*no\.jsonl .*pytest --mistral-record"):
            server.replay(tmp_path / "no.jsonl")
        for text in ("{", "[]", '{"event":1}', '{"request":{}}\n{"response":{"status":200,"headers":{}}}\n{"event":1}'):
            (tmp_path / "it.jsonl").write_text(text)
            with pytest.raises(ConfigurationError, match=r"it\.jsonl, line \d: no line of a recording"):
                server.replay(tmp_path / "it.jsonl")
        (tmp_path / "it.jsonl").write_text('{"request":{}}')
        with pytest.raises(ConfigurationError, match="a request without a response"):
            server.replay(tmp_path / "it.jsonl")


def test_a_file_that_was_there_stays_where_nothing_is_asked(real, file):
    file.parent.mkdir()
    file.write_text("old")
    recording(file, real).close()
    assert file.read_text() == "old"


def test_there_must_be_somebody_to_record(file):
    with MistralServer(record=True, recording=file, environment={}) as server:
        with pytest.raises(ConfigurationError, match=r"no API key for https://api\.mistral\.ai"):
            server.replay()
        with pytest.raises(ConfigurationError, match="a URL"):
            server.replay(endpoint="nonsense")
    with recording(file, server) as server:
        with pytest.raises(InvalidRequestError, match="gave no whole answer"):
            server.client().chat(model="m", messages=HELLO)
        with pytest.raises(AssertionError):
            server.check()
