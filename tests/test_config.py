from __future__ import annotations

import pytest

from mistral_client import ConfigurationError
from mistral_client._config import resolve as resolved
from mistral_client._config import secret


def resolve(key, endpoint):
    return resolved(secret(key), endpoint)


KEY = "abcDEF123-_."


@pytest.mark.parametrize(
    ("endpoint", "base_url"),
    [
        (None, "https://api.mistral.ai"),
        ("https://api.mistral.ai", "https://api.mistral.ai"),
        ("https://api.mistral.ai/", "https://api.mistral.ai"),
        ("https://api.mistral.ai/v1", "https://api.mistral.ai"),
        ("https://api.mistral.ai/v1/", "https://api.mistral.ai"),
        ("https://proxy.example/mistral/v1", "https://proxy.example/mistral"),
        ("https://proxy.example/v11", "https://proxy.example/v11"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_endpoints(endpoint, base_url):
    config = resolve(KEY, endpoint)
    assert (config.base_url, config.local_model, config.api_key.get_secret_value()) == (base_url, None, KEY)


@pytest.mark.parametrize(
    ("endpoint", "model"),
    [("local", ""), ("local:mixtral-8x135m", "mixtral-8x135m"), ("local:C:\\a.gguf", "C:\\a.gguf")],
)
def test_local_needs_no_key_and_takes_none_along(endpoint, model):
    for key in (None, "MISTRAL_API_KEY", "", "bad key\n"):
        config = resolve(key, endpoint)
        assert (config.local_model, config.api_key) == (model, None)


def test_the_environment_is_read_when_the_client_is_built(monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    monkeypatch.setenv("MISTRAL_ENDPOINT", "https://other.example/v1")
    config = resolve(None, None)
    assert (config.base_url, config.api_key.get_secret_value()) == ("https://other.example", KEY)
    monkeypatch.setenv("MISTRAL_ENDPOINT", "local")
    assert resolve("ignored", None).local_model == ""
    assert resolve(KEY, "https://api.mistral.ai").local_model is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "api.mistral.ai",
        "ftp://x",
        "https://",
        "http:///v1",
        "https://x:port",
        "https://[::1",
        "local:",
        "https://a b",
        "https://x/?q=1",
        "https://x/#f",
        "https://x\x7f/",
        "Local",
    ],
)
def test_an_endpoint_that_is_no_url(endpoint):
    with pytest.raises(ConfigurationError, match="endpoint"):
        resolve(KEY, endpoint)


def test_a_password_in_the_endpoint_is_refused_and_not_shown():
    with pytest.raises(ConfigurationError) as raised:
        resolve(KEY, "https://user:hunter2@api.mistral.ai")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("key", ["", "key\n", "\nkey", "two words", "tab\t", "schlüssel", "zero\0", "key\x7f"])
def test_a_key_that_is_none_is_refused_and_not_shown(key):
    with pytest.raises(ConfigurationError) as raised:
        resolve(key, None)
    assert isinstance(raised.value, ValueError)
    assert not key or key not in str(raised.value)


def test_a_missing_key_says_what_to_do():
    with pytest.raises(ConfigurationError, match=r"MISTRAL_API_KEY.*local"):
        resolve(None, None)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "127.9.9.9"])
def test_a_server_on_this_machine_may_need_no_key(host):
    config = resolve(None, f"http://{host}")
    assert config.is_loopback
    assert config.api_key is None


def test_an_empty_key_is_wrong_everywhere():
    with pytest.raises(ConfigurationError, match="empty"):
        resolve("", "http://localhost:8000")


@pytest.mark.parametrize("host", ["api.mistral.ai", "10.0.0.1", "localhost.example"])
def test_other_hosts_are_not_this_machine(host):
    assert not resolve(KEY, f"http://{host}").is_loopback


def test_the_key_is_not_in_the_repr():
    assert KEY not in repr(resolve(KEY, None))
