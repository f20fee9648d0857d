"""What a client was told, as one frozen value: arguments first, then the environment. Performs no I/O."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn
from urllib.parse import urlsplit

from pydantic import InstanceOf, SecretStr

from ._headers import AUTHORIZATION, flaw
from .constants import ENDPOINT
from .exceptions import ConfigurationError
from .hooks import Hooks

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most bytes that a client reads of what a server sends, after decompression. None: any number.

    response: of a whole answer. event: of one event of a stream. error: of an error answer; what follows is not looked
    at, while the other two raise `ProtocolError`.
    """

    response: int | None = 64 * 1024 * 1024
    event: int | None = 32 * 1024 * 1024
    error: int | None = 64 * 1024


@dataclass(frozen=True, slots=True)
class Config:
    """base_url: of the server, without `/v1` and without a slash at the end.
    local_model: None for a server elsewhere; in local mode the model's name or file, empty for the default one.
    max_retries, deadline: of a call that does not say otherwise; requests after the first, and seconds.
    trust_env: whether proxies and certificates are those of the environment.
    hooks: told of every call. extra_headers: sent with every request.
    """

    base_url: str
    api_key: SecretStr | None = field(default=None, repr=False)
    local_model: str | None = None
    max_retries: int = 2
    deadline: float | None = None
    limits: Limits = Limits()
    trust_env: bool = True
    hooks: tuple[InstanceOf[Hooks], ...] = ()
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Config holds the key, and is not pickled")

    @property
    def host(self) -> str:
        """Name and port of the server, for a person."""
        return self.base_url.partition("://")[2] if self.local_model is None else "the local server"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine, where a proxy has no business."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost")


def secret(value: str | None) -> SecretStr | None:
    """A key as it is given, before anything can fail: tracebacks with local variables must not show it."""
    return None if value is None else SecretStr(value)


def resolve(
    api_key: SecretStr | None,
    endpoint: str | None,
    max_retries: int = 2,
    deadline: float | None = None,
    limits: Limits | None = None,
    trust_env: bool = True,
    hooks: tuple[Hooks, ...] = (),
) -> Config:
    """Raises `ConfigurationError` with what is wrong and what to do; it never shows the key."""
    _check_effort(max_retries, deadline)
    base_url, local_model = _server(endpoint or os.environ.get("MISTRAL_ENDPOINT") or ENDPOINT)
    config = Config(base_url, None, local_model, max_retries, deadline, limits or Limits(), trust_env, hooks)
    if local_model is not None:
        # The local server asks for no key, so none is looked for, and none that a script carries is used.
        return config
    if api_key is None:
        api_key = secret(os.environ.get("MISTRAL_API_KEY"))
    if api_key is None and config.is_loopback:
        return config
    _check_key(api_key, base_url)
    return replace(config, api_key=api_key)


def with_options(
    config: Config,
    max_retries: int | None,
    deadline: float | None,
    extra_headers: Mapping[str, str] | None,
    hooks: tuple[Hooks, ...] | None,
) -> Config:
    """The same but for what is not None. Raises `ConfigurationError`."""
    changed = replace(
        config,
        max_retries=config.max_retries if max_retries is None else max_retries,
        deadline=config.deadline if deadline is None else deadline,
        extra_headers=config.extra_headers if extra_headers is None else dict(extra_headers),
        hooks=config.hooks if hooks is None else hooks,
    )
    _check_effort(changed.max_retries, changed.deadline)
    wrong = flaw(changed.extra_headers)
    if wrong is not None:
        raise ConfigurationError(f"extra_headers: {wrong}")
    if any(name.lower() == AUTHORIZATION.lower() for name in changed.extra_headers):
        raise ConfigurationError(
            f"extra_headers: {AUTHORIZATION} is the client's key; build a client with another api_key, or give the "
            "header with a call"
        )
    return changed


def _check_effort(max_retries: int, deadline: float | None) -> None:
    if max_retries < 0:
        raise ConfigurationError(f"max_retries: {max_retries!r} is less than 0")
    if deadline is not None and not deadline > 0:
        raise ConfigurationError(f"deadline: {deadline!r} is not a number of seconds above 0")


def _server(endpoint: str) -> tuple[str, str | None]:
    """The base URL, and in local mode the model."""
    name, colon, model = endpoint.partition(":")
    if name != LOCAL:
        return _base_url(endpoint), None
    if colon and not model:
        raise ConfigurationError("endpoint 'local:' names no model; write 'local' for the default one")
    return "http://local", model


def _base_url(endpoint: str) -> str:
    try:
        url = urlsplit(endpoint)
        host, _ = url.hostname, url.port
    except ValueError:
        host = None  # the error's own words may show a password
    if host is None:
        raise ConfigurationError(f"the endpoint is neither 'local', 'local:MODEL' nor a URL such as {ENDPOINT!r}")
    if "@" in endpoint:
        raise ConfigurationError("the endpoint holds a user name or password; give the key as api_key instead")
    if url.scheme not in {"http", "https"} or url.query or url.fragment:
        raise ConfigurationError(f"the endpoint is not as simple a URL as {ENDPOINT!r}: no query, http or https")
    if any(c.isspace() or not c.isprintable() for c in endpoint):
        raise ConfigurationError("the endpoint holds white space or control characters")
    return endpoint.rstrip("/").removesuffix("/v1").rstrip("/")


def _check_key(api_key: SecretStr | None, base_url: str) -> None:
    if api_key is None or not api_key.get_secret_value():
        what = "there is no API key" if api_key is None else "the API key is empty"
        raise ConfigurationError(
            f"{what} for {base_url}: pass api_key=..., set MISTRAL_API_KEY, "
            "or use endpoint='local' (MISTRAL_ENDPOINT=local), which needs none"
        )
    if not isinstance(api_key.get_secret_value(), str):
        raise ConfigurationError("the API key is no str")
    if not all("!" <= c <= "~" for c in api_key.get_secret_value()):
        raise ConfigurationError(
            "the API key holds a character that no key has (white space, a newline or a non-ASCII letter); "
            "was it read from a file without strip()?"
        )
