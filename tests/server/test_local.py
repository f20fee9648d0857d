"""Local mode on a real engine: one server for all, from every kind of event loop, and a clean end of the process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from mistral_client import LocalModelError, MistralAsyncClient, MistralClient
from tests.conftest import HELLO

OPTIONS = {"max_tokens": 12, "temperature": 0.0}


def text_of(stream):
    return "".join(chunk.choices[0].delta.content for chunk in stream)


@pytest.fixture
def client(make_client, baby):
    return make_client(endpoint=f"local:{baby}")


def test_the_stream_says_what_the_answer_says(client):
    whole = client.chat(HELLO, "mistral-small", **OPTIONS)
    assert whole.choices[0].message.content
    assert text_of(client.chat_stream(HELLO, "mistral-small", **OPTIONS)) == whole.choices[0].message.content
    assert whole.usage.completion_tokens <= 12


def test_the_same_seed_gives_the_same_text(client):
    seeded = [
        client.chat(HELLO, "mistral-small", random_seed=seed, max_tokens=12).choices[0].message.content
        for seed in (1, 1, 2)
    ]
    assert seeded[0] == seeded[1] != seeded[2]


def test_the_environment_alone(make_client, baby, monkeypatch):
    monkeypatch.setenv("MISTRAL_ENDPOINT", f"local:{baby}")
    assert make_client(api_key="MISTRAL_API_KEY").list_models().data[0].id == "baby"
    assert len(make_client().embeddings("mistral-embed", "x").data[0].embedding) == 1024


def test_one_async_client_in_many_event_loops(baby):
    client = MistralAsyncClient(endpoint=f"local:{baby}")

    async def ask():
        return text_of([chunk async for chunk in client.chat_stream(HELLO, "mistral-small", **OPTIONS)])

    assert len({asyncio.run(ask()) for _ in range(3)}) == 1


@pytest.mark.asyncio
async def test_a_sync_client_inside_a_running_event_loop(baby):
    with MistralClient(endpoint=f"local:{baby}") as client:
        assert text_of(client.chat_stream(HELLO, "mistral-small", **OPTIONS))


def test_all_kinds_of_client_at_once_share_one_engine(baby):
    texts = []

    def ask():
        with MistralClient(endpoint=f"local:{baby}") as client:
            texts.append(text_of(client.chat_stream(HELLO, "mistral-small", random_seed=1, max_tokens=6)))

    def servers():
        return {thread for thread in threading.enumerate() if thread.name == "mistral-client local server"}

    ask()
    running = servers()
    threads = [threading.Thread(target=ask) for _ in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(texts) == 13
    assert servers() == running


@pytest.mark.parametrize("kind", [MistralClient, MistralAsyncClient])
@pytest.mark.parametrize("content", [None, b"", b"not a model", b"GGUF", b"PK\x03\x04"])
def test_a_file_that_is_no_model(kind, content, tmp_path):
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LocalModelError, match=r"model\.gguf"):
        kind(endpoint=f"local:{path}")


def test_half_a_model(tmp_path, baby):
    path = tmp_path / "half.gguf"
    path.write_bytes(baby.read_bytes()[: baby.stat().st_size // 2])
    with pytest.raises(LocalModelError, match=r"half\.gguf"):
        MistralClient(endpoint=f"local:{path}")


def test_a_name_nobody_knows():
    with pytest.raises(LocalModelError, match="'mixtral-900b'"):
        MistralClient(endpoint="local:mixtral-900b")


def run(program, baby):
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", textwrap.dedent(program)],
        env=os.environ | {"MISTRAL_ENDPOINT": f"local:{baby}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


ENDINGS = {
    "a stream left open": "stream = client.chat_stream('m', HELLO); next(stream); next(stream)",
    "an exception in mid-stream": "stream = client.chat_stream('m', HELLO); next(stream); raise SystemExit(0)",
    "a thread in mid-stream": """
        def read():
            with suppress(MistralException):  # interrupted, if it comes so far
                list(client.chat_stream('m', HELLO))
        threading.Thread(target=read, daemon=True).start()
        time.sleep(0.2)
        """,
    "an unfinished event loop": """
        async def main():
            stream = MistralAsyncClient().chat_stream('m', HELLO)
            await anext(stream)
        asyncio.run(main())
        """,
    "a forked child": """
        client.chat('m', HELLO, max_tokens=1)
        child = os.fork()
        if child == 0:
            try:
                client.chat('m', HELLO, max_tokens=1)
            except LocalModelError as error:
                assert "forked" in str(error)
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        client.chat('m', HELLO, max_tokens=1)
        """,
}
HEAD = """
import asyncio, os, threading, time
from contextlib import suppress
from mistral_client import LocalModelError, MistralAsyncClient, MistralClient, MistralException
HELLO = [{"role": "user", "content": "hello"}]
client = MistralClient()
"""


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_the_process_ends_cleanly(ending, baby):
    program = HEAD + textwrap.dedent(ending).replace("'m'", "'mistral-small'")
    if "fork" in ending and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    ran = run(program, baby)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_nothing_is_printed_and_only_the_engines_port_is_open(baby):
    program = (
        HEAD
        + """
client.chat('mistral-small', HELLO, max_tokens=3)
from pathlib import Path
mine = {os.readlink(fd) for fd in Path('/proc/self/fd').iterdir() if fd.exists()}
inodes = {line.split()[9] for line in Path('/proc/net/tcp').read_text().splitlines() if line.split()[3] == '0A'}
print(len([inode for inode in inodes if f'socket:[{inode}]' in mine]))
"""
    )
    if not os.path.exists("/proc/net/tcp"):
        pytest.skip("no /proc here")
    ran = run(program, baby)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n", "")
