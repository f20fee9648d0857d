"""What a client was told, as one frozen value: arguments first, then the environment. Performs no I/O."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .constants import ENDPOINT
from .exceptions import ConfigurationError

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Config:
    """base_url: of the server, without `/v1` and without a slash at the end.
    local_model: None for a server elsewhere; in local mode the model's name or file, empty for the default one.
    """

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    local_model: str | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine, where a proxy has no business."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def resolve(api_key: str | None, endpoint: str | None) -> Config:
    """Raises `ConfigurationError` with what is wrong and what to do; it never shows the key."""
    endpoint = endpoint or os.environ.get("MISTRAL_ENDPOINT") or ENDPOINT
    name, colon, model = endpoint.partition(":")
    if name == LOCAL:
        if colon and not model:
            raise ConfigurationError("endpoint 'local:' names no model; write 'local' for the default one")
        # The local server asks for no key, so none is looked for, and none that a script carries is used.
        return Config("http://local", None, model)
    base_url = _base_url(endpoint)
    if api_key is None:
        api_key = os.environ.get("MISTRAL_API_KEY")
    config = Config(base_url, api_key)
    if api_key is None and config.is_loopback:
        return config
    _check_key(api_key, base_url)
    return config


def _base_url(endpoint: str) -> str:
    try:
        url = urlsplit(endpoint)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ConfigurationError(f"the endpoint is no URL: {error}") from None
    if url.username or url.password:
        raise ConfigurationError("the endpoint holds a user name or password; give the key as api_key instead")
    if url.scheme not in {"http", "https"} or not host or url.query or url.fragment:
        raise ConfigurationError(
            f"endpoint {endpoint!r} is neither 'local', 'local:MODEL' nor a URL such as {ENDPOINT!r}"
        )
    if any(c.isspace() or not c.isprintable() for c in endpoint):
        raise ConfigurationError("the endpoint holds white space or control characters")
    return endpoint.rstrip("/").removesuffix("/v1").rstrip("/")


def _check_key(api_key: str | None, base_url: str) -> None:
    if not api_key:
        what = "there is no API key" if api_key is None else "the API key is empty"
        raise ConfigurationError(
            f"{what} for {base_url}: pass api_key=..., set MISTRAL_API_KEY, "
            "or use endpoint='local' (MISTRAL_ENDPOINT=local), which needs none"
        )
    if not all("!" <= c <= "~" for c in api_key):
        raise ConfigurationError(
            "the API key holds a character that no key has (white space, a newline or a non-ASCII letter); "
            "was it read from a file without strip()?"
        )
