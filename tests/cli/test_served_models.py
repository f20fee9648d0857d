"""`mistral-client serve` with several models."""

import httpx
import pytest

from mistral_client import MistralClient

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def described(tmp_path):
    def write(text):
        file = tmp_path / "models.toml"
        file.write_text(text)
        return file

    return write


def started(process):
    said = process.read_until(process.stderr, "export MISTRAL_ENDPOINT=")
    return said, process.stderr.readline().strip()


def loaded(url):
    return httpx.get(f"{url}/health", trust_env=False).json()["loaded"]


def ids(client):
    return {card.id: card.max_context_length for card in client.list_models().data}


def test_models_of_a_file(command, baby, described):
    file = described(f"""
        [[models]]
        model = "{baby}"
        name = "first"
        aliases = ["mistral-small"]
        slots = 1
        context_length = 100

        [[models]]
        model = "{baby}"
        name = "second"
        aliases = ["mistral-embed", "mistral-large-latest"]
    """)
    # Too little for both: each takes the other's place.
    process = command("serve", "--models", file, "--memory", "0.009", "--port", 0)
    said, url = started(process)
    assert said.startswith(f"first and second listen on {url}; Ctrl-C ends it.")
    with MistralClient(endpoint=url) as client:
        contexts = ids(client)
        assert contexts == {
            "first": 100,
            "mistral-small": 100,
            "second": 2048,
            "mistral-embed": 2048,
            "mistral-large-latest": 2048,
        }
        assert loaded(url) == []
        assert client.chat("mistral-small", HELLO, max_tokens=3).usage.completion_tokens <= 3
        assert loaded(url) == ["first"]
        assert len(client.embeddings("mistral-embed", "hello").data[0].embedding) == 1024
        assert loaded(url) == ["second"]
        chunks = [*client.chat_stream("first", HELLO, max_tokens=3)]
        assert chunks[-1].choices[0].finish_reason == "length"
        assert loaded(url) == ["first"]
    process.terminate()
    assert process.finish() == (0, "", "")


def test_models_of_options(command, baby, tmp_path):
    other = tmp_path / "other.gguf"
    other.symlink_to(baby)
    process = command(
        "serve", "--port", 0, "--model", baby, "--embedding-model", other, "--alias", f"mine={baby}", "--slots", 1
    )
    _, url = started(process)
    with MistralClient(endpoint=url) as client:
        assert set(ids(client)) == {"baby", "mine", "other", "mistral-embed"}
        client.embeddings("mistral-embed", ["hello"])
        assert loaded(url) == ["other"]
        client.chat("mine", HELLO, max_tokens=1)
        assert loaded(url) == ["baby", "other"]
    process.terminate()
    assert process.finish() == (0, "", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "is not TOML"),
        ("", "must hold a table [[models]]"),
        ("models = 3", "must hold a table [[models]]"),
        ("[[models]]\nfile = 'x'", "model 1: there is no 'file'; there are model, name, aliases"),
        ("[[models]]\n[[models]]\nslots = 'two'", "model 2: slots must be a whole number"),
        ("[[models]]\nslots = true", "model 1: slots must be a whole number"),
        ("[[models]]\naliases = [1]", "model 1: aliases must be a list of texts"),
        ("[[models]]\nmodel = 'none.gguf'", "none.gguf does not exist"),
        ("[[models]]\n[general]", "and nothing else"),
    ],
)
def test_a_file_that_describes_none(invoke, described, text, message):
    file = described(text)
    result = invoke("serve", "--models", file, "--port", 0)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.startswith("error: ")


def test_paths_are_relative_to_the_file(invoke, described):
    file = described("[[models]]\nmodel = 'sub/none.gguf'")
    assert f"{file.parent}/sub/none.gguf does not exist" in invoke("serve", "--models", file, "--port", 0).stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alias", "x"], "--alias x is not NAME=MODEL"),
        (["--model", "BABY", "--alias", "x=other.gguf"], "with a MODEL of "),
        (["--model", "BABY", "--embedding-model", "BABY"], "once is enough"),
        (["--models", "m.toml", "--slots", "1"], "do not go with it"),
        (["--models", "none.toml"], "none.toml cannot be read"),
        (["--model", "BABY", "--memory", "0.001"], "of memory and there are 1 MB for it"),
        (["--model", "BABY", "--embedding-model", "LINK", "--memory", "0.001"], "there are 1 MB for it"),
    ],
)
def test_options_that_do_not_go_together(invoke, baby, tmp_path, options, message):
    link = tmp_path / "link.gguf"
    link.symlink_to(baby)
    options = [option.replace("BABY", str(baby)).replace("LINK", str(link)) for option in options]
    result = invoke("serve", "--port", 0, *options)
    assert result.exit_code == 1
    assert message in result.stderr
