"""What httpx needs to know, and what its failures mean."""

from __future__ import annotations

import importlib
import logging
import math
import socket
import ssl
from functools import lru_cache
from typing import Protocol, cast

import httpcore
import httpx

from ._calls import AnswerT, Call, Request
from ._config import CalledKey, Config
from ._error_body import request_id
from ._exchange import Effort, Response, Step
from ._network import TimeLeft
from ._version import __version__
from .exceptions import (
    ConfigurationError,
    MistralConnectionException,
    MistralException,
    ProtocolError,
    RequestTimeout,
)

logger = logging.getLogger("mistral_client")

FAILURES = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
"""Everything that httpx raises on its own account, and httpcore below our transports."""


class _LocalServer(Protocol):
    def sync_transport(self, model: str) -> httpx.BaseTransport: ...
    def async_transport(self, model: str) -> httpx.AsyncBaseTransport: ...


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


def checked(timeout: float | httpx.Timeout) -> httpx.Timeout:
    """Raises `ConfigurationError` for what is no length of time."""
    timeouts = httpx.Timeout(timeout)
    for seconds in timeouts.as_dict().values():
        if seconds is not None and not seconds > 0:
            raise ConfigurationError(f"timeout: {seconds!r} is not a number of seconds above 0")
    return timeouts


def build_request(
    config: Config,
    call: Call[AnswerT],
    step: Request,
    timeout: httpx.Timeout,
    given: httpx.Client | httpx.AsyncClient | None = None,
) -> httpx.Request:
    """The request as httpx sends it. The key is added here, at the last moment.

    timeout: where the call has none of its own. given: a client of the user's, whose own headers and cookies go along.
    """
    headers = {"User-Agent": f"mistral-client-python/{__version__}", **step.headers}
    if isinstance(config.api_key, CalledKey):
        config.api_key.renew(config.base_url)
    if config.api_key is not None:
        headers.setdefault("Authorization", f"Bearer {config.api_key.get_secret_value()}")
    timeout = timeout if call.timeout is None else httpx.Timeout(call.timeout)
    return (httpx.Request if given is None else given.build_request)(
        step.method,
        _url(config.base_url + step.path),
        headers=headers,
        content=step.content,
        extensions={"timeout": _timeouts(timeout, step.until)},
    )


@lru_cache(64)
def _url(text: str) -> httpx.URL:
    """Parsed once: a client asks the same few addresses again and again."""
    return httpx.URL(text)


def restart(request: httpx.Request) -> None:
    """The answer to this request has shown a sign of life: its time to be silent begins anew."""
    timeout = request.extensions["timeout"]["read"]
    if isinstance(timeout, TimeLeft):
        timeout.restart()


def failure(error: Exception, config: Config) -> MistralException:
    """What an exception of httpx means to the caller: which server, what happened, whether it may pass.

    The exception itself is left behind, for it holds the request and with it the key. The system's own error, where
    there was one, is the cause.
    """
    where = config.host
    words = str(error) or type(error).__name__
    system = _system_error(error)
    raised: MistralException
    if isinstance(error, httpx.PoolTimeout):
        raised = RequestTimeout(f"no free connection to {where}: all of the pool were busy for too long")
    elif isinstance(error, httpx.ConnectTimeout | httpcore.ConnectTimeout):
        raised = RequestTimeout(f"no connection to {where} in time")
    elif isinstance(error, httpx.TimeoutException | httpcore.TimeoutException):
        raised = RequestTimeout(f"{where} did not answer in time")
    elif isinstance(error, httpx.DecodingError):
        raised = ProtocolError(f"the answer of {where} cannot be decoded: {words}")
    elif isinstance(error, _UNMADE):
        raised = ConfigurationError(f"a request to {where} cannot be made: {words}")
    elif (
        isinstance(error, _UNCONNECTED) and isinstance(system, ssl.SSLError) and not isinstance(system, ssl.SSLEOFError)
    ):
        raised = MistralConnectionException(f"no secure connection to {where}: {words}")
        raised.retryable = False
    elif isinstance(system, socket.gaierror):
        raised = MistralConnectionException(f"the name of {where} was not found: {words}")
    elif isinstance(error, _UNCONNECTED):
        raised = MistralConnectionException(f"no connection to {where}: {words}")
    elif isinstance(error, _NOT_HTTP) and not any(sign in words for sign in _BROKEN):
        raised = ProtocolError(f"the answer of {where} is not HTTP: {words[:200]}")
    else:
        raised = MistralConnectionException(f"the connection to {where} broke: {words}")
    raised.__cause__ = system
    return raised


def log(step: Step, outcome: Response | MistralException | None, seconds: float, effort: Effort) -> None:
    """One line for one attempt, on the logger `mistral_client` at DEBUG. No key, no prompt and no answer is in it."""
    if not isinstance(step, Request) or not logger.isEnabledFor(logging.DEBUG):
        return
    if isinstance(outcome, MistralException):
        # The words of an error may be the server's, and those may be the prompt.
        kind, status, named = type(outcome).__name__, outcome.http_status, effort.masked(str(outcome.request_id))
        logger.debug(
            "%s %s: %s after %.3f s, status %s, request id %s", step.method, step.path, kind, seconds, status, named
        )
    elif outcome is not None:
        status, named = outcome.status_code, effort.masked(str(request_id(outcome.headers)))
        logger.debug("%s %s: %d after %.3f s, request id %s", step.method, step.path, status, seconds, named)


def _timeouts(timeout: httpx.Timeout, until: float) -> dict[str, TimeLeft | None]:
    """https://www.python-httpx.org/advanced/timeouts/"""
    given: dict[str, float | None] = timeout.as_dict()
    return {
        name: None
        if seconds is None and until == math.inf
        else TimeLeft(math.inf if seconds is None else seconds, until)
        for name, seconds in given.items()
    }


def _system_error(error: BaseException | None) -> OSError | None:
    """The error of the operating system at the bottom of this one, without the frames that led to it."""
    found = None
    while error is not None:
        if isinstance(error, OSError):
            found = error
        error = error.__cause__ or error.__context__
    if found is None:
        return None
    return type(found)(*found.args)


_UNMADE = (
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    httpx.LocalProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.LocalProtocolError,
)
_UNCONNECTED = (httpx.ConnectError, httpcore.ConnectError)
_NOT_HTTP = (httpx.RemoteProtocolError, httpcore.RemoteProtocolError)
# Words of h11 and httpcore for a connection that ended; the rest of their protocol errors are about what came.
_BROKEN = ("disconnected", "closed", "ended")
