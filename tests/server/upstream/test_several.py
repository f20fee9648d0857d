"""Several servers: the one with the least to do, another one where one fails, and those that are left alone."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest

from mistral_client import InvalidRequestError, MistralClient, RateLimitError, ServerError
from mistral_client.exceptions import MistralConnectionException
from mistral_client.server.errors import WireError
from mistral_client.server.upstream.upstreams import Upstream, Upstreams
from tests.conftest import HELLO, chunked_head, http, reset

from .other_server import END, MODEL, answer, card, chunk_of, stream

BUSY = [http(b'{"error":{"message":"busy"}}', "429 Too Many Requests", "application/json", "retry-after: 2"), None]
DOWN = [http(b"oops", "500 Internal Server Error", "text/plain"), None]
OK = answer({"content": "ok"})


def text(client, **options):
    return client.chat(HELLO, MODEL, **options).choices[0].message.content


def until(condition):
    """Wait for what happens in other threads."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def client_of(in_front, make_client):
    def make(*servers, **options):
        return make_client(endpoint=in_front(*servers, **options), max_retries=0)

    return make


@pytest.mark.parametrize("failure", [DOWN, BUSY, [reset], [http(b"<html>", "200 OK", "text/html"), None]])
def test_another_one_where_one_fails(other_server, client_of, failure):
    failing, well = other_server(failure), other_server(OK)
    client = client_of(failing, well)
    assert [text(client) for _ in range(4)] == ["ok"] * 4
    assert len(well.requests) == 4


@pytest.mark.parametrize("cut", [[reset], [chunked_head(), chunk_of({"role": "assistant", "content": ""}), reset]])
def test_a_stream_that_fails_before_its_first_token(other_server, client_of, cut):
    failing = other_server(cut)
    well = other_server(stream(chunk_of({"content": "ok"}), chunk_of({}, "stop")))
    client = client_of(failing, well)
    for _ in range(2):
        chunks = list(client.chat_stream(HELLO, MODEL))
        assert [each.choices[0].delta.content for each in chunks] == ["", "ok", ""]


def test_nothing_is_asked_twice_once_something_came(other_server, client_of):
    begun = [chunked_head(), chunk_of({"role": "assistant", "content": "Once"})]
    one, other = other_server(begun), other_server(begun)
    with pytest.raises(ServerError) as caught:
        list(client_of(one, other).chat_stream(HELLO, MODEL))
    assert caught.value.text == "Once"
    assert len(one.requests) + len(other.requests) == 1


def test_a_wrong_request_is_asked_once(other_server, client_of):
    wrong = [http(b'{"error":{"message":"no"}}', "400 Bad Request"), None]
    one, other = other_server(wrong), other_server(wrong)
    with pytest.raises(InvalidRequestError, match="no"):
        text(client_of(one, other))
    assert len(one.requests) + len(other.requests) == 1


def test_all_are_full(other_server, client_of):
    with pytest.raises(RateLimitError) as caught:
        text(client_of(other_server(BUSY), other_server(BUSY)))
    assert (caught.value.code, caught.value.retry_after) == ("3505", 2)


def test_all_are_down(other_server, in_front, make_client):
    server = other_server(DOWN)
    server.is_well = False
    url = in_front(server, "http://127.0.0.1:9")
    assert httpx.get(url + "/health").status_code == 503
    client = make_client(endpoint=url, max_retries=0)
    assert client.list_models().data == []


def test_one_that_comes_up_later(other_server, in_front, make_client):
    server = other_server(OK)
    server.is_well = False
    url = in_front(server, interval=0.05)
    assert httpx.get(url + "/health").status_code == 503
    server.is_well = True
    until(lambda: httpx.get(url + "/health").status_code == 200)
    assert text(make_client(endpoint=url)) == "ok"


def test_what_the_log_says_of_looks(other_server, caplog):
    server = other_server(OK)

    async def look():
        upstream = Upstream(server.url)
        for server.is_well in (False, False, True, True, False, True):
            await upstream.look()
        await upstream.client.close()

    anyio.run(look)
    told = [record.getMessage() for record in caplog.records if record.name == "mistral_client.server"]
    assert ["again" in each for each in told] == [False, True, False, True]


def test_one_that_goes_away_is_not_asked_first(other_server, client_of):
    going, staying = other_server(DOWN), other_server(OK)
    client = client_of(going, staying, interval=0.02)
    going.is_well = False
    seen = going.looks
    until(lambda: going.looks > seen + 1)
    assert text(client) == "ok"
    assert going.requests == []


def test_the_one_with_the_least_to_do(other_server, in_front):
    here = threading.Barrier(3)
    meet = [lambda _: here.wait(20), *OK]
    one, other = other_server(meet), other_server(meet)
    with MistralClient(endpoint=in_front(one, other)) as client, ThreadPoolExecutor(2) as threads:
        running = [threads.submit(text, client) for _ in range(2)]
        here.wait(20)
        assert [each.result() for each in running] == ["ok", "ok"]
    assert (len(one.requests), len(other.requests)) == (1, 1)


def test_models_that_only_some_have(other_server, client_of):
    small = other_server(answer({"content": "small"}), cards=[card(id="small")])
    large = other_server(answer({"content": "large"}), cards=[card(id="large")])
    client = client_of(small, large, aliases={"mistral-tiny": "small", "mistral-large-latest": "large"})
    said = {
        name: client.chat(HELLO, name).choices[0].message.content
        for name in ("small", "large", "mistral-tiny", "mistral-large-latest")
    }
    assert said == {"small": "small", "large": "large", "mistral-tiny": "small", "mistral-large-latest": "large"}
    assert large.asked()["model"] == "large"
    with pytest.raises(InvalidRequestError, match="Invalid model: mistral-small"):
        client.chat(HELLO, "mistral-small")


def test_a_queue_that_is_full(other_server, in_front, make_client):
    here, go = threading.Event(), threading.Event()
    server = other_server([lambda _: here.set(), lambda _: go.wait(20), *OK])
    url = in_front(server, running=1, queue=0)
    client = make_client(endpoint=url, max_retries=0)
    with ThreadPoolExecutor(1) as threads, MistralClient(endpoint=url) as first:
        running = threads.submit(text, first)
        assert here.wait(20)
        with pytest.raises(RateLimitError) as caught:
            text(client)
        go.set()
        assert running.result() == "ok"
    assert caught.value.code == "3505"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def asked_of(upstreams, fails):
    """Which server answers, where these fail."""

    async def ask(upstream):
        if upstream in fails:
            raise MistralConnectionException("gone")
        return upstream

    async def main():
        async with upstreams.asking(upstreams.offered(MODEL), ask) as asked:
            return asked.result

    return anyio.run(main)


@pytest.fixture
def two():
    """Two servers that list their model, a clock, and no network."""
    from mistral_client.models.models import ModelCard

    clock = Clock()
    servers = [Upstream(f"http://127.0.0.1:{port}") for port in (1, 2)]
    for server in servers:
        server.cards, server.is_well = {MODEL: ModelCard.model_validate(card())}, True
    upstreams = Upstreams(servers, clock=clock)
    upstreams._offer(MODEL, servers[0].cards[MODEL])
    return upstreams, servers, clock


def test_one_that_fails_again_and_again_is_left_alone(two):
    upstreams, (one, other), clock = two
    for _ in range(3):
        assert asked_of(upstreams, [one]) is other
    assert not one.can_answer(clock.now)
    assert asked_of(upstreams, []) is other
    clock.now = 10.0
    assert asked_of(upstreams, []) is one
    # The second time it takes twice as long.
    for _ in range(3):
        one.failed(clock.now)
    clock.now += 10.0
    one.running = 0
    assert one.can_answer(clock.now)  # it had answered in between, so it was the first time again
    for _ in range(6):
        one.failed(clock.now)
    assert not one.can_answer(clock.now + 29.0)
    assert one.can_answer(clock.now + 30.0)


def test_where_all_are_left_alone_any_is_asked(two):
    upstreams, servers, clock = two
    for server in servers:
        for _ in range(3):
            server.failed(clock.now)
    assert asked_of(upstreams, []) in servers


def test_when_all_fail_the_last_failure_is_told(two):
    upstreams, servers, _ = two
    with pytest.raises(WireError) as caught:
        asked_of(upstreams, servers)
    assert (caught.value.status, caught.value.body["code"]) == (503, "1100")


def test_a_stream_that_breaks_speaks_against_its_server(other_server, in_front):
    broken = [chunked_head(), chunk_of({"role": "assistant", "content": "Once"})]
    bad = other_server(broken)
    good = other_server(stream(chunk_of({"content": "ok"}), chunk_of({}, "stop")))
    ends = []
    with MistralClient(endpoint=in_front(bad, good), max_retries=0) as client:
        for _ in range(8):
            try:
                list(client.chat_stream(HELLO, MODEL))
                ends.append("whole")
            except ServerError:
                ends.append("broken")
    assert ends == ["broken"] * 3 + ["whole"] * 5


def test_metrics(other_server, in_front, make_client):
    server = other_server(OK, stream(chunk_of({"content": "ok"}), chunk_of({}, "stop")), [*END])
    url = in_front(server)
    client = make_client(endpoint=url, max_retries=0)
    text(client)
    list(client.chat_stream(HELLO, MODEL))
    told = httpx.get(url + "/metrics").text
    assert f'vllm:request_success_total{{finished_reason="stop",model_name="{MODEL}"}} 2.0' in told
    assert f'vllm:generation_tokens_total{{model_name="{MODEL}"}} 10.0' in told
