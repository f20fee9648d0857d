"""`mistral-client serve`"""

import contextlib
import re
import signal
import socket
import time

import httpx
import pytest

from mistral_client import MistralClient
from mistral_client.server.weights.baby import write_gguf


@pytest.fixture
def served(command, baby):
    """Starts a server; gives its process and its address."""

    def start(*arguments, model=baby, **options):
        process = command("serve", "--model", model, "--port", 0, *arguments, **options)
        shown = process.read_until(process.stderr, "export MISTRAL_ENDPOINT=")
        url = process.stderr.readline().strip()
        assert shown.startswith(f"{model.stem} listens on {url}; Ctrl-C ends it.")
        return process, url

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_it_is_told_to_end(served, number):
    process, url = served()
    with MistralClient(endpoint=url) as client:
        answer = client.chat("mistral-tiny", [{"role": "user", "content": "hello"}], max_tokens=5)
        assert answer.usage.completion_tokens <= 5
        assert {"baby", "mistral-tiny"} <= {card.id for card in client.list_models().data}
    process.send_signal(number)
    assert process.finish() == (0, "", "")


@pytest.fixture(scope="module")
def talkative(tmp_path_factory):
    """The baby never ends by itself, and in this one its context is not full for a minute."""
    return write_gguf(tmp_path_factory.mktemp("talkative") / "talkative.gguf", context=2**17)


@pytest.mark.parametrize(("times", "seconds"), [(1, 3), (2, 0)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_answer_on_its_way_gets_a_moment_then_an_error(served, talkative, number, times, seconds):
    process, url = served("--slots", 1, "--context-length", 2**17, model=talkative)
    asked = {"model": "mistral-tiny", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    with (
        httpx.Client(trust_env=False) as client,
        client.stream("POST", f"{url}/v1/chat/completions", json=asked) as response,
    ):
        received = response.iter_lines()
        next(received)
        started = time.monotonic()
        for _ in range(times):
            process.send_signal(number)
            time.sleep(0.3)  # a signal that waits for the process already would count once
        lines = list(received)
        code, output, errors = process.finish()
    assert (code, output, errors) == (0, "", "")
    assert "The model failed: the engine is closed" in lines[-2]
    assert seconds <= time.monotonic() - started < seconds + 3


def test_options_reach_the_engine(served):
    _, url = served("--context-length", 100, "--slots", 1, "--threads", 1)
    with MistralClient(endpoint=url) as client:
        assert {card.max_context_length for card in client.list_models().data} == {100}


def test_requests_are_logged_on_demand(served):
    process, url = served("--log-level", "info")
    httpx.get(f"{url}/health", trust_env=False)
    assert "GET /health" in process.stdout.readline()


def test_port_in_use_is_told_before_anything_is_loaded(invoke):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("serve", "--port", port, "--model", "nowhere.gguf")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: port {port} is in use; choose another with --port, or 0 for any that is free\n"


def test_two_servers_do_not_share_a_port(served, invoke, baby):
    _, url = served()
    assert "is in use" in invoke("serve", "--port", url.rpartition(":")[2], "--model", baby).stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_only_loopback(invoke, host):
    result = invoke("serve", "--host", host)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: host '{host}' is not a loopback address such as 127.0.0.1: ")


def test_localhost_and_ipv6(served):
    with contextlib.suppress(OSError):
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        _, url = served("--host", "::1")
        assert re.fullmatch(r"http://\[::1\]:\d+", url)
    _, url = served("--host", "localhost")
    assert httpx.get(f"{url}/health", trust_env=False).json()["model"] == "baby"


def test_a_host_that_is_none(invoke):
    result = invoke("serve", "--host", "nowhere.invalid")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: host 'nowhere.invalid' was not found: ")


def test_a_model_that_cannot_be_loaded(invoke, tmp_path, baby):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    for arguments in (["--model", broken], ["--model", "nowhere.gguf"], ["--model", baby, "--context-length", 10**6]):
        result = invoke("serve", "--port", 0, *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ended_while_the_default_model_is_fetched(command, raw_server, tmp_path, number, code):
    index = raw_server([60.0])
    settings = {
        "XDG_CACHE_HOME": str(tmp_path),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": index.url,
        "PYTHONWARNINGS": "",
    }
    process = command("serve", "--port", 0, env=settings)
    while not index.requests:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    assert process.finish() == (code, "", "")
    assert [path.name for path in (tmp_path / "mistral_client").iterdir()] in ([], ["mixtral-8x135m-r2.gguf.lock"])


def test_keys_from_everywhere(served, baby, tmp_path):
    file = tmp_path / "keys"
    file.write_text("# who may\n\nfiled\n")
    process, url = served(
        "--api-key",
        "given",
        "--api-key-file",
        file,
        "--log-level",
        "trace",
        env={"MISTRAL_SERVER_API_KEYS": "one, two,"},
    )
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/health").status_code == 200
        for key, status in (("given", 200), ("filed", 200), ("one", 200), ("two", 200), ("one, two", 401), ("#", 401)):
            answer = client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == status
    process.terminate()
    code, output, errors = process.finish()
    assert code == 0
    logged = output + errors
    assert '"GET /v1/models HTTP/1.1" 401' in logged
    assert not [key for key in ("given", "filed", "one, two") if key in logged]


def test_another_address_with_a_key(served):
    _, url = served("--host", "0.0.0.0", "--api-key", "secret")
    url = url.replace("0.0.0.0", "127.0.0.1")
    assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 401
    answer = httpx.get(f"{url}/v1/models", headers={"authorization": "Bearer secret", "host": "any"}, trust_env=False)
    assert answer.status_code == 200


def test_the_inspector_says_where_it_is(command, baby):
    for options, there in (
        (["--host", "127.0.0.1"], r"http://127\.0\.0\.1:\d+/"),
        (["--host", "0.0.0.0", "--api-key", "secret"], r"http://localhost:\d+/"),
        (["--no-inspector"], None),
    ):
        process = command("serve", "--model", baby, "--port", 0, *options)
        shown = process.read_until(process.stderr, "export MISTRAL_ENDPOINT=")
        said = re.search(r"^The inspector shows what is asked: (.*)$", shown, re.MULTILINE)
        url = process.stderr.readline().strip().replace("0.0.0.0", "127.0.0.1")
        page = httpx.get(f"{url}/", trust_env=False)
        assert (page.status_code, "<title>Inspector</title>" in page.text) == ((200, True) if there else (404, False))
        assert re.fullmatch(there, said[1]) if there else said is None
        process.terminate()
        assert process.finish()[0] == 0


def test_an_open_inspector_holds_nothing_up(served):
    process, url = served("--grace", 20)
    with httpx.stream("GET", f"{url}/inspector/events", trust_env=False) as response:
        lines = response.iter_lines()
        next(lines)
        begun = time.monotonic()
        process.terminate()
        assert [line for line in lines if line] == []
        assert process.finish() == (0, "", "")
    assert time.monotonic() - begun < 15


def test_keys_that_cannot_be_used(invoke, tmp_path):
    (tmp_path / "empty").write_text("# nobody\n")
    (tmp_path / "bytes").write_bytes(b"\xff")
    for arguments, message in (
        (["--api-key", "two words"], "of the keys of the server one cannot be used"),
        (["--api-key", ""], "of the keys of the server one cannot be used"),
        (["--api-key-file", tmp_path / "empty"], "holds no key"),
        (["--api-key-file", tmp_path / "bytes"], "is not a text file"),
        (["--api-key-file", tmp_path / "nowhere"], "cannot be read"),
        (["--cors-origin", "*"], "is no origin"),
    ):
        result = invoke("serve", *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert message in result.stderr
        assert "two words" not in result.stderr
