"""What httpx needs to know, and what its failures mean."""

from __future__ import annotations

import importlib
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

import httpx

from ._calls import AnswerT, Call, Request
from ._config import Config
from ._error_body import request_id
from ._exchange import Response, Step
from ._version import __version__
from .exceptions import (
    ConfigurationError,
    MistralConnectionException,
    MistralException,
    ProtocolError,
    RequestTimeout,
)

logger = logging.getLogger("mistral_client")

FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)
"""Everything that httpx raises on its own account."""

ClientT = TypeVar("ClientT")


class _LocalServer(Protocol):
    def sync_transport(self, model: str) -> httpx.BaseTransport: ...
    def async_transport(self, model: str) -> httpx.AsyncBaseTransport: ...


def client_options(config: Config, timeout: float | httpx.Timeout, max_connections: int | None) -> dict[str, Any]:
    """The arguments with which both clients build theirs."""
    return {
        "timeout": timeout,
        "limits": httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        "follow_redirects": False,
        # A proxy for the outside world must not swallow what stays on this machine.
        "trust_env": not config.is_loopback and config.local_model is None,
    }


def new_client(kind: Callable[..., ClientT], options: Mapping[str, Any]) -> ClientT:
    """A client of httpx. Raises `ConfigurationError` for what the environment says of proxies and certificates."""
    try:
        return kind(**options)
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"the environment's proxies or certificates cannot be used: {error}") from error


def local_server() -> _LocalServer:
    """The server room's local mode, found by name: the SDK imports nothing of the server.

    Raises `ConfigurationError` where the extra is not installed.
    """
    try:
        return cast("_LocalServer", importlib.import_module("mistral_client.server.local"))
    except ImportError as error:
        raise ConfigurationError(
            f"endpoint 'local' needs the local server: pip install 'mistral-client[local]' ({error})"
        ) from error


def build_request(
    client: httpx.Client | httpx.AsyncClient, config: Config, call: Call[AnswerT], step: Request
) -> httpx.Request:
    """The request as httpx sends it. The key is added here, at the last moment."""
    headers = {"User-Agent": f"mistral-client-python/{__version__}", **step.headers}
    if config.api_key is not None:
        headers.setdefault("Authorization", f"Bearer {config.api_key}")
    timeout = client.timeout if call.timeout is None else httpx.Timeout(call.timeout)
    return client.build_request(
        step.method, config.base_url + step.path, headers=headers, content=step.content, timeout=timeout
    )


def failure(error: Exception, config: Config) -> MistralException:
    """What an exception of httpx means to the caller: which server, what happened, whether it may pass."""
    where = config.base_url.partition("://")[2] if config.local_model is None else "the local server"
    words = str(error) or type(error).__name__
    raised: MistralException
    if isinstance(error, httpx.PoolTimeout):
        raised = RequestTimeout(f"no free connection to {where}: all of the pool were busy for too long")
    elif isinstance(error, httpx.ConnectTimeout):
        raised = RequestTimeout(f"no connection to {where} in time")
    elif isinstance(error, httpx.TimeoutException):
        raised = RequestTimeout(f"{where} did not answer in time")
    elif isinstance(error, httpx.DecodingError):
        raised = ProtocolError(f"the answer of {where} cannot be decoded: {words}")
    elif isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.LocalProtocolError):
        raised = ConfigurationError(f"a request to {where} cannot be made: {words}")
    elif _has_cause(error, ssl.SSLError):
        raised = MistralConnectionException(f"no secure connection to {where}: {words}")
        raised.retryable = False
    elif _has_cause(error, socket.gaierror):
        raised = MistralConnectionException(f"the name of {where} was not found: {words}")
    elif isinstance(error, httpx.ConnectError):
        raised = MistralConnectionException(f"no connection to {where}: {words}")
    else:
        raised = MistralConnectionException(f"the connection to {where} broke: {words}")
    raised.__cause__ = error
    return raised


def log(step: Step, outcome: Response | MistralException | None, seconds: float) -> None:
    """One line for one attempt, on the logger `mistral_client` at DEBUG. No key, no prompt and no answer is in it."""
    if not isinstance(step, Request):
        return
    if isinstance(outcome, MistralException):
        logger.debug("%s %s failed after %.3f s: %s", step.method, step.path, seconds, outcome)
    elif outcome is not None:
        status, named = outcome.status_code, request_id(outcome.headers)
        logger.debug("%s %s: %d after %.3f s, request id %s", step.method, step.path, status, seconds, named)


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
