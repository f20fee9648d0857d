"""What another server answers is in the inspector like what is answered here."""

from __future__ import annotations

import json

import httpx
import pytest

from mistral_client.server.guard import Guard
from mistral_client.server.inspector import Inspector
from mistral_client.server.upstream.calls import add_calls
from mistral_client.server.upstream.upstreams import Upstream, Upstreams
from tests.conftest import HELLO
from tests.server.serving import serving

from .other_server import MODEL, answer, chunk_of, stream


@pytest.mark.parametrize("streamed", [True, False])
def test_a_chat(other_server, streamed):
    thought = {"reasoning": "hm", "content": "Paris."}
    script = stream(chunk_of(thought), chunk_of({"content": ""}, "stop")) if streamed else answer(thought)
    upstreams = Upstreams([Upstream(other_server(script).url)])
    asked = {"model": MODEL, "messages": HELLO, "stream": streamed}
    with (
        serving(Guard(), models=upstreams, add_calls=add_calls, inspector=Inspector()) as (_, url),
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        assert client.post("/v1/chat/completions", json=asked).status_code == 200
        told = client.get("/inspector/calls/1").json()
    call = told["call"]
    assert (call["model"], call["status"], call["outcome"], call["reasons"]) == (MODEL, 200, "answered", ["stop"])
    assert call["prompt_tokens"] > 0
    assert call["answer_tokens"] > 0
    assert "".join(text for _, _, text, _ in told["reply"]) == "hmParis."
    assert told["prompt"] is None
    moments = [call[name] for name in ("prepared", "started", "first", "latest", "ended")]
    assert moments == sorted(moments)
    assert json.loads(told["body"]) == asked
