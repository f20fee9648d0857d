"""The newest official client, unmodified, against the scripted server of the testing kit."""

from __future__ import annotations

import subprocess

import platformdirs

from .environments import client, interpreter, script


def test_it_works_unmodified(mistral_server):
    python = interpreter(client("mistralai 3.7.0"), platformdirs.user_cache_path("mistral_client") / "compat")
    mistral_server.fail(429, retry_after=0.05)
    mistral_server.reply("Paris is nice.", times=2)
    mistral_server.reply(tool_calls=[{"name": "weather", "arguments": {"city": "Paris"}}], times=2)
    mistral_server.fail(503, times=1)
    mistral_server.reply("cut off here", cut_after=2)
    mistral_server.reply_embeddings([[1.0, 0.0], [0.0, 1.0]])
    mistral_server.reply_models(["mistral-small"])
    done = subprocess.run(
        [python, script("scripted_mistralai")],
        env={"COMPAT_URL": mistral_server.url, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "Paris is nice.",
        "['', 'Paris', ' is', ' nice.', '']",
        'call00001 weather {"city":"Paris"}',
        "tool_calls weather",
        '503 {"object": "error", "message": "Internal server error", "type": "unreachable_backend", "param": null, "code": "1100"}',
        "RemoteProtocolError 'cut off'",
        "[0.0, 1.0]",
        "['mistral-small']",
    ]
