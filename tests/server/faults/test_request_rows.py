"""Rows of the table that are about what a request says and what an answer gives away, over real sockets."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import pickle
import re
import tarfile
import time
import zipfile

import httpx
import pytest

from mistral_client.server.weights import WeightsError, check_model
from mistral_client.server.weights.gguf_header import read_header
from tests.server.test_app import EchoEngine

CHAT = {"model": "mistral-tiny", "messages": [{"role": "user", "content": "hello"}]}
JSON = {"content-type": "application/json"}


@pytest.fixture
def http(serving):
    return serving(EchoEngine())


def chat(http, **fields):
    return http.post("/v1/chat/completions", json={**CHAT, **fields})


def say(http, text, **fields):
    return chat(http, messages=[{"role": "user", "content": text}], **fields)


def raw(http, body: bytes):
    return http.post("/v1/chat/completions", content=body, headers=JSON)


def serves_on(http):
    answer = chat(http)
    assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, "hello ")


@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
def test_row4_deep_json(http, pair):
    opening, closing = pair
    assert raw(http, opening * 100_000 + b"1" + closing * 100_000).status_code == 400
    metadata = opening * 100_000 + b"1" + closing * 100_000
    assert raw(http, json.dumps(CHAT).encode()[:-1] + b', "metadata": ' + metadata + b"}").status_code == 400
    serves_on(http)


@pytest.mark.parametrize(
    "field",
    [b'"\xff"', b'"\\ud800"', b"NaN", b"-Infinity", b"1" * 5000, b'{"a": 1, "a": 2}', b'"cut'],
    ids=["bad-utf8", "lone-surrogate", "nan", "infinity", "5000-digits", "duplicate-keys", "cut"],
)
def test_row5_what_is_not_json_to_the_letter(http, field):
    answer = raw(http, json.dumps(CHAT).encode()[:-1] + b', "metadata": {"x": ' + field + b"}}")
    assert answer.status_code == 400
    assert "The body is not JSON: " in answer.json()["detail"]
    serves_on(http)


def test_row5_byte_order_mark(http):
    assert raw(http, b"\xef\xbb\xbf" + json.dumps(CHAT).encode()).status_code == 400


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages"),
        ({"model": 7}, "model"),
        ({"stream": "perhaps"}, "stream"),
    ],
)
def test_row6_fields_of_the_wrong_kind(http, fields, where):
    answer = chat(http, **fields)
    assert answer.status_code == 422
    issue = answer.json()["detail"][0]
    assert issue["loc"][:2] == ["body", where]
    assert {"type", "msg"} <= issue.keys()


def test_row6_missing_fields(http):
    answer = raw(http, b"{}")
    assert answer.status_code == 422
    assert {tuple(issue["loc"]) for issue in answer.json()["detail"]} == {("body", "model"), ("body", "messages")}


@pytest.mark.parametrize("stream", [False, True])
def test_row16_a_prompt_too_long_names_both_counts(serving, stream):
    engine = EchoEngine()
    answer = say(serving(engine), "x" * 700, stream=stream)
    assert (answer.status_code, answer.json()["code"]) == (400, "3051")
    tokens, limit = re.findall(r"(\d+) (?:tokens and|maximum)", answer.json()["message"])
    assert int(tokens) > 700
    assert limit == "600"
    assert engine.prompts == []


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": -1},
        {"max_tokens": 2**63},
        {"n": 0},
        {"n": 2**63},
        {"best_of": 10**9},
        {"logprobs": True, "top_logprobs": 10**9},
        {"logprobs": 10**9},
    ],
    ids=str,
)
def test_row17_counts_out_of_bounds(http, fields):
    answer = chat(http, **fields)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    serves_on(http)


def test_row17_no_tokens_at_all(http):
    answer = chat(http, max_tokens=0).json()
    assert answer["usage"]["completion_tokens"] == 0
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("field", ["random_seed", "max_tokens", "top_k", "min_tokens"])
@pytest.mark.parametrize("value", [-1, 2**63, 2**64, -(2**63), 10**30])
def test_row18_numbers_that_native_code_cannot_hold(serving, field, value):
    engine = EchoEngine()
    assert chat(serving(engine), **{field: value}).status_code in {400, 422}
    assert engine.samplings == []


@pytest.mark.parametrize("fields", [{"temperature": -1}, {"temperature": 99}, {"top_p": 2}, {"top_p": -0.1}], ids=str)
def test_row19_sampling_out_of_range(http, fields):
    assert chat(http, **fields).status_code == 422


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"1e999"])
def test_row19_sampling_that_is_no_number(http, word):
    answer = raw(http, json.dumps(CHAT).encode()[:-1] + b', "temperature": ' + word + b"}")
    assert answer.status_code in {400, 422}


@pytest.mark.parametrize("word", ["crash", "bug"])
def test_row21_the_engine_fails(http, word):
    answer = say(http, word)
    assert answer.status_code == 500
    assert answer.json()["object"] == "error"
    assert answer.headers["mistral-correlation-id"]
    serves_on(http)


@pytest.mark.parametrize("word", ["crash"])
def test_row22_the_engine_fails_in_mid_stream(http, word):
    text = say(http, f"one {word}", stream=True).text
    assert "event: error" in text
    assert "out of cheese" in text
    assert "[DONE]" not in text
    serves_on(http)


NAMES = ["../mistral-tiny", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "a%00b", "/etc/passwd", "%5c%5chost%5cshare"]


@pytest.mark.parametrize("name", NAMES)
def test_row30_a_models_name_is_never_a_path(http, name):
    answer = http.get(f"/v1/models/{name}")
    assert answer.status_code in {400, 404}
    assert "root:" not in answer.text
    assert chat(http, model=name).status_code == 400


def test_row32_pickles_are_refused_by_content(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    for name in ("model.gguf", "model.bin", "model.pt"):
        for protocol in (2, 4):
            path = tmp_path / name
            path.write_bytes(pickle.dumps(Trap(), protocol))
            with pytest.raises(WeightsError):
                check_model(path)


def test_row33_archives_are_not_opened(tmp_path, baby):
    zipped, tarred = tmp_path / "zip.gguf", tmp_path / "tar.gguf"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(baby, "model.gguf")
    with tarfile.open(tarred, "w") as archive:
        archive.addfile(tarfile.TarInfo("model.gguf"), io.BytesIO())
    for path in (zipped, tarred):
        with pytest.raises(WeightsError, match="not a GGUF file"):
            read_header(path)
    assert sorted(tmp_path.iterdir()) == sorted([zipped, tarred])


def test_row36_a_long_text_takes_linear_time(http):
    for text in ("a" * 1_000_000, "<|" * 500_000, " " * 1_000_000):
        begun = time.monotonic()
        assert say(http, text).status_code == 400
        assert time.monotonic() - begun < 10
    serves_on(http)


def test_row41_no_files_are_served(http):
    for path in ("/static/x", "/..%2f..%2fetc/passwd", "/index.html", "/.env"):
        assert http.get(path, headers={"range": "bytes=0-10"}).status_code == 404
    ranged = http.get("/v1/models", headers={"range": "bytes=0-10"})
    assert (ranged.status_code, "content-range" in ranged.headers) == (200, False)


def test_row42_line_ends_in_what_is_logged(serving, caplog):
    http = serving(EchoEngine(), "debug")
    with caplog.at_level(logging.DEBUG):
        http.get("/v1/models/x%0d%0aINFO:%20forged")
        chat(http, model="x\r\nINFO: forged")
    assert not [record for record in caplog.records if {"\r", "\n"} & {*record.getMessage()}]


def test_row43_no_value_of_the_client_in_a_header(http):
    marked = "sent-by-the-client"
    named = {"x-request-id": marked, "mistral-correlation-id": marked}
    for answer in (
        http.get(f"/v1/models/{marked}", headers=named),
        http.post("/v1/chat/completions", json={**CHAT, "model": marked}, headers=named),
        http.get(f"/{marked}", headers=named),
    ):
        assert marked not in str(answer.headers.raw)
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", answer.headers["mistral-correlation-id"])


def test_row44_logs_hold_no_prompt_and_no_key(serving, caplog):
    http = serving(EchoEngine(), "trace")
    with caplog.at_level(1):
        for text in ("swordfish", "swordfish crash", "swordfish bug"):
            for stream in (False, True):
                body = {**CHAT, "messages": [{"role": "user", "content": text}], "stream": stream}
                with contextlib.suppress(httpx.TransportError):  # a bug in a stream ends it, as row 22 has it
                    http.post("/v1/chat/completions", json=body, headers={"authorization": "Bearer opensesame"})
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert ours
    text = "\n".join(logging.Formatter().format(record) for record in ours)
    assert "swordfish" not in text
    assert "opensesame" not in text


def test_row45_a_500_gives_nothing_away(http):
    body = say(http, "bug").text
    assert json.loads(body)["message"] == "Service unavailable."
    assert not re.search(r"Traceback|ZeroDivision|\.py|/", body)


@pytest.mark.parametrize("text", ["data: [DONE] x", "a\u2028b\u2029c\u0085d", "é🧀"])
def test_row47_what_looks_like_an_end_is_text(http, text):
    lines = say(http, text, stream=True).content.split(b"\n\n")
    assert lines[-2:] == [b"data: [DONE]", b""]
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in lines[:-2]]
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks).split() == text.split()
