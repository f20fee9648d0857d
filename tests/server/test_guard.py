"""The door of the server: keys, host names, origins, bodies."""

from __future__ import annotations

import contextlib
import hashlib
import hmac

import anyio
import httpx
import pytest
from starlette.routing import Route

from mistral_client.server.guard import LOOPBACK_HOSTS, Door, Guard, is_origin
from mistral_client.server.keys import Keys
from tests.server.serving import serving

ASKED = {"model": "mistral-tiny", "messages": [{"role": "user", "content": "hello"}]}
RIGHT = {"authorization": "Bearer secret-2"}


@pytest.fixture
def door():
    with contextlib.ExitStack() as ending:

        def make(**options):
            server, url = ending.enter_context(serving(Guard(**options)))
            client = ending.enter_context(httpx.Client(base_url=url, trust_env=False))
            client.app = server.config.app
            return client

        yield make


@pytest.fixture
def locked(door):
    return door(keys=Keys(["secret-1", "secret-2"]))


def test_a_key_opens_and_its_owner_has_a_name(locked):
    for key in ("secret-1", "secret-2"):
        assert locked.get("/v1/models", headers={"authorization": f"bearer {key}"}).status_code == 200
        assert locked.post("/v1/chat/completions", json=ASKED, headers={"authorization": f"Bearer {key}"}).is_success
    assert Keys(["a", "b"]).owner(b"Bearer b") == hashlib.sha256(b"b").hexdigest()[:16]
    assert Keys().owner(None) == ""


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer secret", "Basic secret-1", "secret-1", "Bearer \xe9"])
def test_without_it_nothing_opens(locked, sent):
    headers = {} if sent is None else {"authorization": sent.encode("latin-1")}
    answer = locked.get("/v1/models", headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Unauthorized"})
    assert answer.headers["mistral-correlation-id"]
    assert answer.headers["connection"] == "close"


def test_two_keys_at_once_are_none(locked):
    both = [("authorization", "Bearer secret-1"), ("authorization", "Bearer secret-2")]
    assert locked.get("/v1/models", headers=both).status_code == 401


def test_every_key_is_compared(monkeypatch):
    compared = []
    compare = hmac.compare_digest

    def spy(one, other):
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    keys = Keys(["a", "b", "c"])
    for sent in (b"Bearer a", b"Bearer c", b"Bearer x", None):
        compared.clear()
        keys.owner(sent)
        assert compared == [(32, 32)] * 3


@pytest.mark.parametrize("key", ["", "with space", "line\n", "schl\xfcssel"])
def test_keys_that_no_header_holds(key):
    with pytest.raises(ValueError, match="visible ASCII") as raised:
        Keys(["fine", key])
    assert not key or key not in str(raised.value)


def test_every_route_but_health_is_locked(locked):
    routes = [route for route in locked.app.routes if isinstance(route, Route)]
    assert len({route.path for route in routes}) >= 8
    for route in routes:
        for method in route.methods:
            expected = 200 if route.path == "/health" else 401
            assert locked.request(method, route.path).status_code == expected, (method, route.path)


@pytest.mark.parametrize(
    "path",
    ["/", "/nowhere", "/health/", "//health", "/health/../v1/models", "/v1/models?/health", "/v1/models/%2e%2e/health"],
)
def test_what_is_no_route_is_locked_too(locked, path):
    assert locked.get(path).status_code == 401


def test_the_host_does_not_open(locked):
    for host in ("a/health?", "a/health#", "health", "a@b"):
        assert locked.get("/v1/models", headers={"host": host}).status_code in (401, 403)


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("LOCALHOST:9", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("127.0.0.7:1", 200)]
    + [
        (host, 403)
        for host in (
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "localhost:x",
            "evil@localhost",
            "::1",
            "127.0.0.1/x",
        )
    ],
)
def test_only_this_machine_s_names_lead_here(door, host, status):
    answer = door(hosts={*LOOPBACK_HOSTS, "127.0.0.7"}).get("/health", headers={"host": host})
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["object"] == "error"
        assert answer.json()["type"] == "invalid_request_error"


def test_any_name_where_none_are_listed(door):
    assert door().get("/health", headers={"host": "models.example"}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://127.0.0.1:8001", "file://", "evil"])
def test_pages_from_elsewhere_may_not_call(door, origin):
    client = door()
    for method in ("GET", "POST", "OPTIONS"):
        answer = client.request(method, "/v1/models", headers={"origin": origin})
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_server_s_own_pages_may(door):
    client = door()
    answer = client.get("/v1/models", headers={"origin": str(client.base_url).rstrip("/")})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_cors_when_it_is_asked_for(door):
    client = door(keys=Keys(["secret-2"]), origins=["https://app.example"])
    page = {"origin": "https://app.example"}
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    preflight = client.options("/v1/chat/completions", headers={**page, **ask})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    for headers, status in ((page, 401), ({**page, **RIGHT}, 200)):
        answer = client.get("/v1/models", headers=headers)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert client.get("/v1/models", headers={"origin": "https://other.example", **RIGHT}).status_code == 403


def test_what_an_origin_is():
    assert all(map(is_origin, ["https://a.example", "http://localhost:3000", "http://[::1]:80"]))
    assert not any(
        map(
            is_origin,
            ["*", "null", "a.example", "https://a.example/", "https://a.example/x", "http://u@a", "http://a:x"],
        )
    )


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"]
)
def test_a_body_is_json(door, kind):
    headers = {} if kind is None else {"content-type": kind}
    answer = door().post("/v1/chat/completions", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["param"], answer.json()["code"]) == (415, None, None)


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "x"])
def test_a_body_is_not_compressed(door, coding):
    headers = {"content-type": "application/json; charset=utf-8", "content-encoding": coding}
    assert door().post("/v1/chat/completions", content=b"{}", headers=headers).status_code == 415


def test_a_body_is_bounded(door):
    client = door(max_body=10)
    kind = {"content-type": "application/json"}
    assert client.post("/v1/embeddings", content=b" " * 10, headers=kind).status_code != 413
    assert client.post("/v1/embeddings", content=b" " * 11, headers=kind).status_code == 413
    assert client.post("/v1/embeddings", content=iter([b" " * 6, b" " * 6]), headers=kind).status_code == 413


def test_web_sockets_are_closed():
    async def application(scope, receive, send):
        pytest.fail("let in")

    sent = []

    async def send(message):
        sent.append(message)

    anyio.run(Door(application, Guard()), {"type": "websocket", "path": "/health", "headers": []}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
