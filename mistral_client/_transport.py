"""What httpx needs to know and what its failures mean: the one file that another HTTP library would replace."""

from __future__ import annotations

import importlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import AsyncGeneratorType
from typing import Any, Protocol, TypeVar, cast

import anyio
import httpx

from ._calls import AnswerT, Call, Request
from ._config import Config
from ._error_body import request_id
from ._exchange import Received, Response, Step
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

MAX_BODY = 256 * 1024 * 1024
"""Bytes of an answer, decompressed. The largest real ones, embeddings as text, take a tenth of it."""

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error answer that are looked at."""

LINGER = 0.05
"""Seconds to wait for the end of a response after `[DONE]`: read to its end, the connection can be used again."""


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


def received(response: httpx.Response) -> Received:
    """The response read to its end, and closed. Raises `ProtocolError` when it does not end within `MAX_BODY`."""
    try:
        body = _Body(response)
        for data in response.iter_bytes():
            if body.is_enough(data):
                break
        return body.received()
    finally:
        response.close()


async def areceived(response: httpx.Response) -> Received:
    """The same, asynchronously."""
    pieces = cast("AsyncGeneratorType[bytes, None]", response.aiter_bytes())
    try:
        body = _Body(response)
        async for data in pieces:
            if body.is_enough(data):
                break
        return body.received()
    finally:
        await response.aclose()
        await run_out(pieces)


async def run_out(pieces: AsyncGeneratorType[bytes, None]) -> None:
    """Read a response to its end, for no more than `LINGER` seconds.

    httpx reads through a chain of generators. Running it to its end is what ends them all: closing the outermost leaves
    the others to the garbage collector, and trio complains.
    """
    if not pieces.ag_running:
        with suppress(*FAILURES), anyio.move_on_after(LINGER):
            async for _ in pieces:
                pass


class _Body:
    """A body while it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._data: list[bytes] = []
        self._size = 0
        if "," in response.headers.get("content-encoding", ""):
            raise ProtocolError(
                "the answer is compressed more than once, which a small body can use to fill the memory"
            )

    def is_enough(self, data: bytes) -> bool:
        """Take more; whether to stop reading."""
        self._data.append(data)
        self._size += len(data)
        if self._response.is_error:
            return self._size >= MAX_ERROR_BODY
        if self._size > MAX_BODY:
            raise ProtocolError(f"the answer is larger than {MAX_BODY >> 20} MiB")
        return False

    def received(self) -> Received:
        return Received(self._response.status_code, self._response.headers, b"".join(self._data))


@contextmanager
def hangup(response: httpx.Response) -> Iterator[None]:
    """Bounds the reading of a synchronous response to `LINGER` seconds, by shutting its socket down after that.

    httpx fixes the read timeout of a body when its reading begins, so a server that never ends it can be left in no
    other way.
    """
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is None:
        yield
        return
    timer = threading.Timer(LINGER, _shut_down, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
