"""What applications asked is kept and shown, to this machine only, and changes nothing for them."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import socket
import threading
import time
from array import array
from functools import partial

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_client import MistralClient, ServerError
from mistral_client.server.app import create_app
from mistral_client.server.engine import EngineError, Generation, Piece, TokenText
from mistral_client.server.guard import Guard
from mistral_client.server.inspector import Inspector
from mistral_client.server.inspector import calls as store
from mistral_client.server.inspector.call import BODY, PIECES, Call
from mistral_client.server.inspector.page import PAGES
from mistral_client.server.inspector.recorder import Recorder
from mistral_client.server.inspector.spelled import spelled
from mistral_client.server.keys import Keys
from mistral_client.server.loading import Loaded
from mistral_client.server.models import Models
from tests.conftest import HELLO
from tests.server.serving import serving
from tests.server.test_app import EchoEngine

CHAT = "/v1/chat/completions"
ASKED = {"model": "mistral-tiny", "messages": HELLO}


class Served:
    """A server with an inspector, and what the inspector's page would ask of it."""

    def __init__(self, url, engine, server):
        self.url = url
        self.engine = engine
        self.server = server
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=20)
        self.post = partial(self.http.post, CHAT)

    def calls(self, **headers):
        """The first event of a page: all calls, oldest first."""
        with self.http.stream("GET", "/inspector/events", headers=headers) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            return json.loads(next(response.iter_lines()).removeprefix("data: "))["calls"]

    def call(self, number=-1, after=0):
        """The n-th of them in full, when it has ended."""
        number = self.ended()[number]["number"]
        return self.http.get(f"/inspector/calls/{number}", params={"after": after}).json()

    def ended(self):
        """All calls, when none runs any more."""
        return wait_for(lambda: (calls := self.calls()) and all(call["outcome"] for call in calls) and calls)

    @contextlib.contextmanager
    def watching(self):
        """A page is open; gives its events."""
        with self.http.stream("GET", "/inspector/events") as response:
            lines = (json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: "))
            next(lines)
            yield lines


def wait_for(found):
    deadline = time.monotonic() + 20
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


@pytest.fixture
def served():
    with contextlib.ExitStack() as ending:

        def start(guard=None, inspector=None, pause=0.0, **options):
            engine = EchoEngine(pause)
            server, url = ending.enter_context(
                serving(guard or Guard(open=PAGES), engine=engine, inspector=inspector or Inspector(), **options)
            )
            made = Served(url, engine, server)
            ending.callback(made.http.close)
            return made

        yield start


def test_a_call_is_kept_with_its_prompt_and_its_reply(served):
    server = served()
    body = json.dumps({**ASKED, "messages": [{"role": "user", "content": "née <|im_end|> ✂"}], "max_tokens": 2})
    answer = server.post(content=body, headers={"content-type": "application/json", "user-agent": "app/1"})
    told = server.call()
    call = told["call"]
    assert (call["model"], call["path"], call["agent"], call["stream"]) == ("mistral-tiny", CHAT, "app/1", False)
    assert (call["status"], call["outcome"], call["reasons"]) == (200, "answered", ["length"])
    assert (call["prompt_tokens"], call["answer_tokens"]) == (len(server.engine.prompts[0]), 2)
    assert call["correlation"] == answer.headers["mistral-correlation-id"]
    assert call["preview"] == "née <|im_end|> ✂"
    assert abs(call["at"] - time.time()) < 60
    moments = [call[name] for name in ("prepared", "started", "first", "latest", "ended")]
    assert moments == sorted(moments)
    assert moments[0] >= 0
    assert told["body"] == body
    assert "".join(text for text, _, control in told["prompt"] if not control) == "user\nnée <|im_end|> ✂\nassistant\n"
    assert [text for text, _, control in told["prompt"] if control] == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]
    assert [(number, text, tokens) for number, _, text, tokens in told["reply"]] == [
        (0, "née ", []),
        (0, "<|im_end|> ", []),
    ]


def test_every_kind_of_call(served):
    server = served()
    server.http.post("/v1/fim/completions", json={"model": "mistral-tiny", "prompt": "go on"})
    server.http.post("/v1/embeddings", json={"model": "mistral-embed", "input": ["one", "three"]})
    server.http.get("/v1/models")
    server.post(json={**ASKED, "n": 2})
    server.post(json={**ASKED, "stream": True})
    calls = server.ended()
    assert [call["path"] for call in calls] == ["/v1/fim/completions", "/v1/embeddings", "/v1/models", CHAT, CHAT]
    assert [call["preview"] for call in calls] == ["go on", "one three", "", "hello", "hello"]
    assert [call["outcome"] for call in calls] == ["answered"] * 5
    assert calls[1]["prompt_tokens"] == 8
    assert 0 < calls[1]["prepared"] <= calls[1]["started"] <= calls[1]["ended"]
    assert [call["stream"] for call in calls] == [False, False, False, False, True]
    assert [piece[0] for piece in server.call(3)["reply"]] == [0, 1]
    assert server.call(1)["prompt"] is None


def test_a_page_is_told_as_it_happens(served):
    server = served(pause=0.02)
    with server.watching() as events:
        thread = threading.Thread(
            target=server.post, kwargs={"json": {**ASKED, "messages": [{"role": "user", "content": "a " * 30}]}}
        )
        thread.start()
        seen = []
        while not seen or not seen[-1]["outcome"]:
            seen += next(events)["calls"]
        thread.join()
    counts = [call["answer_tokens"] for call in seen]
    assert counts == sorted(counts)
    assert counts[-1] == 30
    assert len({count for count in counts if 0 < count < 30}) >= 2
    assert {call["number"] for call in seen} == {1}


def test_the_reply_comes_piece_by_piece(served):
    server = served(pause=0.02)
    with (
        server.watching(),
        server.http.stream(
            "POST", CHAT, json={**ASKED, "stream": True, "messages": [{"role": "user", "content": "forever"}]}
        ) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        first = wait_for(lambda: (told := server.http.get("/inspector/calls/1").json()) and told["reply"] and told)
        more = wait_for(
            lambda: (
                (told := server.http.get("/inspector/calls/1", params={"after": len(first["reply"])}).json())
                and told["reply"]
                and told
            )
        )
    assert more["from"] == len(first["reply"])
    assert more["reply"][0][1] > first["reply"][-1][1]
    assert more.keys() == {"call", "from", "reply"}
    assert server.call(after=3)["from"] == 0


def test_probabilities_are_asked_for_while_somebody_looks(served):
    server = served()
    server.post(json=ASKED)
    with server.watching():
        seen = [server.post(json=ASKED).json(), server.post(json={**ASKED, "stream": True}).text]
        told = server.call()
    wait_for(lambda: not server.server._inspector.watched)
    server.post(json=ASKED)
    assert [sampling.logprobs for sampling in server.engine.samplings] == [None, 3, 3, None]
    assert told["reply"][0][3] == [["hello ", -0.5, [["?", -0.9]] * 3]]
    # Who did not ask for them gets none.
    assert "logprobs" not in json.dumps(seen)


def test_who_asks_for_probabilities_gets_what_was_asked_for(served):
    server = served()
    with server.watching():
        answer = server.post(json={**ASKED, "logprobs": True, "top_logprobs": 1}).json()
    assert [sampling.logprobs for sampling in server.engine.samplings] == [1]
    assert len(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 1


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "nope"}, 400, "Invalid model: nope"),
        ({"messages": [{"role": "user", "content": "x" * 700}]}, 400, "too large for model"),
        ({"nonsense": 1}, 422, "body.nonsense: Extra inputs are not permitted"),
        ({"messages": [{"role": "user", "content": "crash"}]}, 500, "out of cheese"),
        ({"messages": [{"role": "user", "content": "bug"}]}, 500, ""),
        ({"messages": [{"role": "user", "content": "memory"}]}, 503, "Memory is short."),
    ],
)
def test_faults(served, fields, status, words):
    server = served()
    assert server.post(json={**ASKED, **fields}).status_code == status
    told = server.call()
    assert (told["call"]["status"], told["call"]["outcome"]) == (status, "failed")
    assert words in told["call"]["fault"]
    assert json.loads(told["body"]) == {**ASKED, **fields}


def test_a_stream_that_breaks(served):
    server = served()
    server.post(json={**ASKED, "stream": True, "messages": [{"role": "user", "content": "a crash"}]})
    call = server.call()["call"]
    assert (call["status"], call["outcome"], call["fault"]) == (200, "failed", "The model failed: out of cheese")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves(served, stream):
    server = served(pause=0.01)
    asked = {**ASKED, "stream": stream, "messages": [{"role": "user", "content": "forever"}]}
    body = json.dumps(asked).encode()
    with socket.create_connection((server.http.base_url.host, server.http.base_url.port)) as connection:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_for(lambda: server.engine.steps > 3)
    call = server.ended()[0]
    assert call["outcome"] == "left"
    assert call["answer_tokens"] > 0
    assert server.engine.running == 0


@pytest.mark.parametrize("left", [True, False])
def test_an_answer_without_an_end(left):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        if left:
            await receive()

    messages = [{"type": "http.request", "body": b"{}", "more_body": False}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        pass

    inspector = Inspector()
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
    anyio.run(Recorder(application, inspector), scope, receive, send)
    call = inspector.find(1)
    assert (call.outcome, call.body) == ("left" if left else "cut", b"{}")


def test_attempts_at_one_call_are_joined(served):
    server = served()
    with MistralClient(endpoint=server.url, max_retries=2) as client, pytest.raises(ServerError):
        client.chat("mistral-tiny", [{"role": "user", "content": "crash"}])
    for _ in range(2):
        server.post(json=ASKED, headers={"idempotency-key": "same"})
    server.post(json=ASKED)
    calls = server.ended()
    names = [call["attempts"] for call in calls]
    assert names[0]
    assert names[0] == names[1] == names[2] != names[3] == names[4] != names[5] == ""
    assert [call["replayed"] for call in calls] == [False, False, False, False, True, False]
    assert len(server.engine.prompts) == 5


def test_what_the_inspector_asks_is_no_call(served):
    server = served()
    for path in ("/", "/health", "/metrics", "/docs", "/openapi.json", "/favicon.ico", *PAGES, "/inspector/calls/7"):
        server.http.get(path)
    assert server.calls() == []
    assert 'request_success_total{finished_reason="stop",model_name="echo"} 0.0' in server.http.get("/metrics").text
    assert not [path for path in server.http.get("/openapi.json").json()["paths"] if "inspector" in path or path == "/"]


def test_without_it_there_is_nothing():
    with serving(Guard()) as (server, url), httpx.Client(base_url=url, trust_env=False) as client:
        for path in ("/", *PAGES, "/inspector/events", "/inspector/calls/1"):
            assert client.get(path).status_code == 404
        assert "Recorder" not in {middleware.cls.__name__ for middleware in server.config.app.user_middleware}


def test_calls_are_bounded_in_number_and_size(served):
    inspector = Inspector(calls=5, size=8000)
    server = served(inspector=inspector)
    for number in range(7):
        server.post(json={**ASKED, "messages": [{"role": "user", "content": str(number)}]})
    assert [call["preview"] for call in server.calls()] == ["2", "3", "4", "5", "6"]
    assert server.http.get("/inspector/calls/1").status_code == 404
    for _ in range(3):
        server.post(json={**ASKED, "messages": [{"role": "user", "content": "x" * 500}], "max_tokens": 1})
        server.ended()
        assert inspector._bytes == sum(call.size for call in inspector._calls) <= 8000
    assert server.calls()


def test_a_large_body_is_not_kept(served):
    server = served()
    server.post(json={**ASKED, "messages": [{"role": "user", "content": "x" * BODY}]})
    told = server.call()
    assert (told["body"], told["call"]["status"]) == ("", 400)
    assert not server.server._inspector.find(1).body


def test_a_call_that_runs_can_be_forgotten(served):
    server = served(pause=0.01)
    asked = {**ASKED, "stream": True, "messages": [{"role": "user", "content": "a " * 20}]}
    with server.http.stream("POST", CHAT, json=asked) as response:
        lines = response.iter_lines()
        next(lines)
        call = server.server._inspector.find(1)
        assert server.http.delete("/inspector/calls").status_code == 200
        assert "[DONE]" in "".join(lines)
    wait_for(lambda: call.outcome)
    assert (call.pieces, call.body, call.reply, call.size) == ([], b"", b"", 0)
    assert server.calls() == []
    assert server.server._inspector._bytes == 0


def test_bodies_of_calls_that_run_are_bounded():
    inspector = Inspector(size=1000)
    calls = [inspector.begin("POST", CHAT) for _ in range(5)]
    for call in calls:
        call.body = b"x" * 300
        inspector.weigh(call)
    assert [call.kept for call in calls] == [False, False, True, True, True]
    assert inspector._bytes == 900
    for call in calls:
        inspector.end(call, "answered")
    assert inspector._bytes == sum(call.size for call in inspector._calls) <= 1000
    inspector.clear()
    assert inspector._bytes == 0


def test_pieces_of_one_call_are_bounded():
    call = Call(1, "POST", CHAT, "", "", "", "", watched=False)
    for _ in range(PIECES + 10):
        call.take(0, call.begun, Piece("x"))
    call.count([Generation("stop", 3, PIECES + 10)])
    assert len(call.pieces) == PIECES
    call.settle("answered")
    assert call.pieces == []
    assert len(json.loads(call.reply)) == PIECES
    assert call.answer_tokens == PIECES + 10


def test_a_flood_of_refusals_is_two_lines(served):
    server = served(Guard(Keys(["secret-1"]), open=PAGES))
    right = {"authorization": "Bearer secret-1"}
    for _ in range(3):
        server.post(json=ASKED, headers=right)
        for _ in range(5):
            assert server.http.get("/v1/models").status_code == 401
            assert server.post(json=ASKED).status_code == 401
    calls = server.calls(**right)
    assert [(call["status"], call["path"], call["times"]) for call in calls] == [
        (200, CHAT, 1),
        (401, "/v1/models", 15),
        (401, CHAT, 15),
        (200, CHAT, 1),
        (200, CHAT, 1),
    ]
    assert server.http.get(f"/inspector/calls/{calls[2]['number']}", headers=right).json()["body"] == ""


def test_what_a_full_server_refuses_early_is_seen(served):
    server = served(pause=0.01, queue=0)
    server.engine.slots = 1
    forever = {**ASKED, "stream": True, "messages": [{"role": "user", "content": "forever"}]}
    with contextlib.ExitStack() as held:
        lines = [held.enter_context(server.http.stream("POST", CHAT, json=forever)).iter_lines() for _ in range(2)]
        for each in lines:
            next(each)
        for _ in range(20):
            assert server.post(json=ASKED).status_code == 429
        calls = server.calls()
    assert [(call["status"], call["times"]) for call in calls[2:]] == [(429, 20)]
    assert "capacity exceeded" in calls[2]["fault"]


def test_keys_are_in_nothing_that_is_kept(served):
    server = served(Guard(Keys(["secret-1"]), open=PAGES))
    right = {"authorization": "Bearer secret-1"}
    with server.http.stream("GET", "/inspector/events", headers=right):
        assert server.post(json=ASKED, headers={**right, "idempotency-key": "mine"}).status_code == 200
        assert server.post(json=ASKED, headers={"authorization": "Bearer secret-0"}).status_code == 401
    shown = [server.calls(**right), *(server.http.get(f"/inspector/calls/{n}", headers=right).text for n in (1, 2))]
    kept = repr([[getattr(call, name) for name in call.__slots__] for call in server.server._inspector._calls])
    assert "secret" not in repr(shown) + kept
    assert "Bearer" not in repr(shown) + kept


def test_the_page_is_open_and_its_data_locked(served):
    server = served(Guard(Keys(["secret-1"]), open=PAGES))
    for path in PAGES:
        assert server.http.get(path).status_code == 200
    for method, path in (("GET", "/inspector/events"), ("GET", "/inspector/calls/1"), ("DELETE", "/inspector/calls")):
        assert server.http.request(method, path).status_code == 401
        assert server.http.request(method, path, headers={"authorization": "Bearer wrong"}).status_code == 401
    for path in ("/inspector/", "/inspector/main.js/", "/inspector/../v1/models", "/inspector/calls"):
        assert server.http.get(path).status_code == 401


HEADERS = [
    ({}, 200),
    ({"host": "localhost:1"}, 200),
    ({"host": "[::1]:1"}, 200),
    ({"host": "127.0.0.9"}, 200),
    ({"host": "example.org"}, 403),
    ({"host": "127.0.0.1.example.org"}, 403),
    ({"host": "10.0.0.1"}, 403),
    ({"x-forwarded-for": "1.2.3.4"}, 403),
    ({"via": "1.1 proxy"}, 403),
    ({"forwarded": "for=1.2.3.4"}, 403),
    ({"sec-fetch-site": "same-origin"}, 200),
    ({"sec-fetch-site": "cross-site"}, 403),
    ({"sec-fetch-site": "same-site"}, 403),
    ({"host": "localhost", "origin": "http://localhost"}, 200),
    ({"host": "localhost", "origin": "https://app.example"}, 403),
    ({"host": "localhost", "origin": "null"}, 403),
]


def test_only_this_machine_and_the_own_page_may_look(served):
    server = served(Guard(origins=["https://app.example", "null"], open=PAGES))
    for number, (headers, status) in enumerate(HEADERS, 1):
        server.post(json=ASKED)
        for method, path in (("GET", f"/inspector/calls/{number}"), ("DELETE", "/inspector/calls")):
            assert server.http.request(method, path, headers=headers).status_code == status, (method, headers)
        # The page itself holds nothing, and links of other pages may lead to it.
        page = 200 if "sec-fetch-site" in headers or "origin" in headers else status
        assert server.http.get("/", headers=headers).status_code == page, headers


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (("127.0.0.1", 1), 200),
        (("::1", 1), 200),
        (("::ffff:127.0.0.1", 1), 200),
        (("10.0.0.1", 1), 403),
        (("::ffff:10.0.0.1", 1), 403),
        (("testclient", 1), 403),
        (None, 403),
    ],
)
def test_the_peer_is_on_this_machine(client, status):
    app = create_app(models=Models([Loaded("echo", "", EchoEngine())]), inspector=Inspector())

    async def get():
        transport = httpx.ASGITransport(app, client=client)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        ):
            await http.post(CHAT, json=ASKED)
            return [(await http.get(path)).status_code for path in ("/", "/inspector/calls/1")]

    assert anyio.run(get) == [status, status]


def test_nothing_of_a_request_is_held(served):
    server = served()
    with server.watching():
        server.post(json={**ASKED, "stream": True})
        server.post(json={**ASKED, "model": "nope"})
        server.ended()
    seen, ahead = set(), [*server.server._inspector._calls]
    while ahead:
        one = ahead.pop()
        if id(one) not in seen and not isinstance(one, type):
            seen.add(id(one))
            assert isinstance(one, Call | str | bytes | int | float | tuple | list | array | None), one
            ahead += gc.get_referents(one)


def test_the_server_ends_while_a_page_is_open(served):
    server = served(grace=10)
    with server.watching() as events:
        begun = time.monotonic()
        server.server.should_exit = True
        assert list(events) == []
    assert time.monotonic() - begun < 8


def test_who_looks_at_nothing_is_told_that_the_server_lives(served, monkeypatch):
    monkeypatch.setattr(store, "ALIVE", 0.05)
    server = served()
    with server.watching() as events:
        assert [next(events) for _ in range(3)] == [{"oldest": 1, "calls": []}] * 3


def test_a_model_that_is_gone_spells_nothing(served):
    server = served()
    server.post(json=ASKED)
    offered = server.server._models.offered("echo")
    assert server.call()["prompt"]

    def closed(_tokens):
        raise EngineError("the engine is closed")

    server.engine.texts_of = closed
    assert server.call()["prompt"] is None
    offered.model = None
    assert server.call()["prompt"] is None


def test_the_page_takes_nothing_from_elsewhere_and_reads_no_html(served):
    server = served()
    for path, (body, media_type) in PAGES.items():
        response = server.http.get(path)
        assert response.headers["content-type"].startswith(media_type)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        text = body.decode()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
        assert not [url for url in re.findall(r"https?://[^\s\"']+", text) if url != "http://www.w3.org/2000/svg"]
    html = PAGES["/"][0].decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", html)
    assert {"/" + path for path in re.findall(r'(?:href|src)="([^"#]+)"', html)} <= PAGES.keys()


@settings(deadline=None)
@given(st.text(), st.lists(st.integers(1, 5), min_size=1))
def test_tokens_are_spelled_as_whole_characters(text, sizes):
    encoded, tokens = text.encode(), []
    while encoded:
        size = sizes[len(tokens) % len(sizes)]
        tokens.append(TokenText(encoded[:size], False))
        encoded = encoded[size:]
    stretches = spelled(range(len(tokens)), tokens)
    assert "".join(part for part, _, _ in stretches) == text
    assert [token for _, ids, _ in stretches for token in ids] == [*range(len(tokens))]


@settings(deadline=None)
@given(st.lists(st.builds(TokenText, st.binary(max_size=6), st.booleans())))
def test_tokens_of_any_bytes_are_spelled(tokens):
    stretches = spelled(range(len(tokens)), tokens)
    assert [token for _, ids, _ in stretches for token in ids] == [*range(len(tokens))]
    assert [ids for _, ids, control in stretches if control] == [
        [n] for n, token in enumerate(tokens) if token.is_control
    ]
