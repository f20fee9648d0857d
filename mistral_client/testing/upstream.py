"""The real thing behind the server: an endpoint elsewhere, or a Mixtral in this process."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Generator, Mapping
from functools import cache
from pathlib import Path

import httpx

from mistral_client._config import LOCAL, Config, resolve, secret
from mistral_client._sse import EventDecoder
from mistral_client._transport import local_server
from mistral_client.constants import ENDPOINT
from mistral_client.exceptions import ConfigurationError, LocalModelError

from .answer import Answer, Event, UnanswerableError
from .request import SECRET_HEADERS, Request

BABY = "baby"

_TIMEOUT = httpx.Timeout(120, connect=30)

_KEPT_HEADERS = ("retry-after", "x-model-deprecation-timestamp")
"""Of an answer, beside its content type. No other header gets through, nor into a recording."""

_OWN_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})
"""Of a request, each connection has its own."""


class Upstream:
    """Passes requests on.

    endpoint: as a client's, or `baby` for a small random Mixtral. environment: what names an endpoint and a key where
    the arguments do not.

    Raises `ConfigurationError` when there cannot be such a one, and for an endpoint elsewhere without a key.
    """

    def __init__(self, endpoint: str | None, api_key: str | None, environment: Mapping[str, str]) -> None:
        self.endpoint = endpoint or environment.get("MISTRAL_ENDPOINT") or ENDPOINT
        key = api_key or environment.get("MISTRAL_API_KEY")
        # With a stand-in, or `resolve` would look for a key in the environment of the test, where there is only ours.
        self._config = resolve(secret(key or "none"), f"{LOCAL}:{_baby()}" if self.endpoint == BABY else self.endpoint)
        self._key = key if self._config.local_model is None else None
        if self._key is None and self._config.local_model is None and not self._config.is_loopback:
            raise ConfigurationError(f"there is no API key for {self._config.base_url}: set MISTRAL_API_KEY")
        self._client = _client(self._config)

    @property
    def secrets(self) -> list[str]:
        """What must be seen nowhere."""
        return [] if self._key is None else [self._key]

    def answer(self, request: Request) -> Answer:
        """Raises `UnanswerableError` when there is none."""
        headers = {name: value for name, value in request.headers.items() if name not in _OWN_HEADERS | SECRET_HEADERS}
        headers["accept-encoding"] = "identity"
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        url = self._config.base_url + request.target
        try:
            response = self._client.send(
                self._client.build_request(request.method, url, headers=headers, content=request.content), stream=True
            )
            kind = response.headers.get("content-type", "")
            kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            streamed = kind.startswith("text/event-stream")
            body = self._events(response) if streamed else response.read()
        except (httpx.HTTPError, LocalModelError) as error:
            raise self._unreachable(error) from None
        return Answer(body, response.status_code, kind, kept)

    def close(self) -> None:
        self._client.close()

    def _events(self, response: httpx.Response) -> Generator[Event]:
        decoder = EventDecoder()
        try:
            for data in response.iter_bytes():
                for event in decoder.feed(data):
                    yield Event(_json(event.data), "" if event.type == "message" else event.type)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        finally:
            response.close()

    def _unreachable(self, error: Exception) -> UnanswerableError:
        return UnanswerableError(f"{self._config.host} gave no whole answer: {str(error) or type(error).__name__}")


def _client(config: Config) -> httpx.Client:
    transport = None if config.local_model is None else local_server().sync_transport(config.local_model)
    return httpx.Client(transport=transport, timeout=_TIMEOUT, trust_env=not config.is_loopback)


def _json(data: str) -> object:
    """An object, or the text that it is not."""
    try:
        value = json.loads(data)
    except ValueError:
        return data
    return value if isinstance(value, dict) else data


@cache
def _baby() -> Path:
    """The file of the baby, made once a process. Raises `ConfigurationError` without the extra `local`."""
    try:
        from mistral_client.server.weights.baby import write_gguf  # noqa: PLC0415

        folder = Path(tempfile.mkdtemp(prefix="mistral-client-baby-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return write_gguf(folder / "baby.gguf")
    except ImportError as error:
        raise ConfigurationError(
            f"'{BABY}' needs the local server: pip install 'mistral-client[local]' ({error})"
        ) from error
