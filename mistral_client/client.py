"""The synchronous client: performs the I/O of a call and decides nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from random import random
from typing import Generic, NoReturn, Self, Unpack, cast

import httpx

from . import _calls
from ._body import hangup, received
from ._calls import AnswerT, Call, CallOptions, ChatOptions, EmbeddingOptions, Messages
from ._chunks import ChunkDecoder
from ._config import Config, resolve
from ._exchange import Response, Step, Wait, answer, exchange, opens_stream
from ._retry import RetryPolicy
from ._transport import FAILURES, build_request, client_options, failure, local_server, log, new_client
from .exceptions import MistralException
from .models.chat_completion import ChatCompletionResponse, ChatCompletionStreamResponse
from .models.embeddings import EmbeddingResponse
from .models.models import ModelList

_Receive = Callable[[httpx.Response], Response]


class MistralClient:
    """A client of Mistral's API, or of the local server.

    api_key: else `MISTRAL_API_KEY`. The local server needs none.
    endpoint: a URL with or without `/v1`; `local` for a Mixtral in this process, `local:MODEL` for another model or
        file. Else `MISTRAL_ENDPOINT`, else Mistral's own.
    max_retries: requests after the first, where the error may pass.
    timeout: seconds, or an `httpx.Timeout`: to connect, and of silence from the server.
    http_client: a ready client to use in place of an own one; it stays open when this one is closed, and its own
        timeout, proxies and certificates hold.
    transport: a ready transport for the own client.

    Safe to share between threads, and to use on both sides of a fork. Close it, or use it in a `with` block, to close
    its connections.
    Raises `ConfigurationError` when it cannot be built like this.
    """

    def __init__(
        self,
        api_key: str | None = None,
        endpoint: str | None = None,
        max_retries: int = 2,
        timeout: float | httpx.Timeout = 120.0,
        *,
        http_client: httpx.Client | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._config = resolve(api_key, endpoint)
        self._policy = RetryPolicy(max_retries)
        self._given = http_client
        if http_client is None and transport is None and self._config.local_model is not None:
            transport = local_server().sync_transport(self._config.local_model)
        self._options = client_options(self._config, timeout, 100) | {"transport": transport}
        # A forked process must not write on its parent's connections, so each process has a client of its own.
        self._clients: dict[int, httpx.Client] = {}
        self._closed = False

    def list_models(self, **options: Unpack[CallOptions]) -> ModelList:
        """The models that the server offers."""
        return self._answer(_calls.list_models(options))

    def chat(
        self, messages: Messages | str, model: str | Messages | None = None, **options: Unpack[ChatOptions]
    ) -> ChatCompletionResponse:
        """The answer to a conversation.

        messages and model: in either order, as both were in use. Messages are `ChatMessage` objects or dicts.
        options: temperature, top_p, max_tokens, stop, random_seed, tools and the rest of `ChatOptions`.

        Raises `ArgumentError` before anything is sent, or another `MistralException`.
        """
        return self._answer(_calls.chat(messages, model, options))

    def chat_stream(
        self, messages: Messages | str, model: str | Messages | None = None, **options: Unpack[ChatOptions]
    ) -> ChatStream[ChatCompletionStreamResponse]:
        """The answer to a conversation, in chunks as they are generated; arguments as in `chat`.

        The request is sent at the first iteration, or on entering a `with` block.
        """
        call = _calls.chat_stream(messages, model, options)
        return ChatStream(call, partial(self._send, call), self._config)

    def embeddings(
        self, model: str, input: str | Iterable[str], **options: Unpack[EmbeddingOptions]
    ) -> EmbeddingResponse:
        """One vector for each text of the input, in its order."""
        return self._answer(_calls.embeddings(model, input, options))

    def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        self._closed = True
        http = self._clients.get(os.getpid())
        if http is not None:
            http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} holds connections: build one in each process, or share it, but no copies"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(endpoint={self._config.base_url!r})"

    def _http(self) -> httpx.Client:
        """The httpx client of this process."""
        if self._given is not None:
            return self._given
        if self._closed:
            raise RuntimeError("the client is closed")
        process = os.getpid()
        if process not in self._clients:
            # Of two threads the first one's stays.
            self._clients.setdefault(process, new_client(httpx.Client, self._options))
        return self._clients[process]

    def _answer(self, call: Call[AnswerT]) -> AnswerT:
        return answer(call, self._send(call, received))

    def _send(self, call: Call[AnswerT], receive: _Receive) -> Response:
        """Send the request, as often as it takes; `receive` makes of an HTTP response what the call came to."""
        steps: Generator[Step, Response | MistralException | None, Response] = exchange(
            call, self._policy, time.monotonic, random
        )
        outcome: Response | MistralException | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as finished:
                return cast("Response", finished.value)
            started = time.monotonic()
            outcome = self._perform(call, step, receive)
            log(step, outcome, time.monotonic() - started)

    def _perform(self, call: Call[AnswerT], step: Step, receive: _Receive) -> Response | MistralException | None:
        if isinstance(step, Wait):
            time.sleep(step.seconds)
            return None
        try:
            http = self._http()
            return receive(http.send(build_request(http, self._config, call, step), stream=True))
        except FAILURES as error:
            return failure(error, self._config)
        except MistralException as error:
            return error


class ChatStream(Generic[AnswerT]):
    """Chunks as they arrive.

    Iterate it, or use it in a `with` block, which closes it also when it is left half-way.

    Raises `StreamInterrupted`, with the text received so far, when the stream breaks off before `[DONE]`.
    """

    def __init__(self, call: Call[AnswerT], send: Callable[[_Receive], Response], config: Config) -> None:
        self._call = call
        self._send = send
        self._config = config
        self._response: httpx.Response | None = None
        self._first: AnswerT | None = None
        self._begun = False
        self._closed = False

    def __iter__(self) -> Iterator[AnswerT]:
        return self

    def __next__(self) -> AnswerT:
        if self._closed:
            raise StopIteration
        try:
            self._open()
            chunk, self._first = self._first, None
            if chunk is None:
                chunk = self._read()
        except BaseException:
            self.close()
            raise
        if chunk is None:
            self.close()
            raise StopIteration
        return chunk

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back. What was not read is lost; further iteration ends at once."""
        self._closed = True
        self._hang_up()

    def _open(self) -> None:
        if not self._begun and not self._closed:
            self._send(self._begin)
            self._begun = True

    def _begin(self, response: httpx.Response) -> Response:
        """Read as far as the first chunk: until it is handed out, all may be tried again."""
        if not opens_stream(self._call, response):
            return received(response)
        self._response = response
        self._decoder = ChunkDecoder(self._call, response)
        self._bytes = response.iter_bytes()
        self._chunks: Iterator[AnswerT] = iter(())
        try:
            self._first = self._read()
        except BaseException:
            self._hang_up()
            raise
        return response

    def _read(self) -> AnswerT | None:
        """The next chunk; None when the stream has come to its end."""
        while True:
            for chunk in self._chunks:
                return chunk
            if self._decoder.done:
                self._read_on()
                return None
            try:
                data = next(self._bytes, None)
            except FAILURES as error:
                reason = failure(error, self._config)
                raise (self._decoder.interrupted(str(reason)) if self._begun else reason) from error
            if data is None:
                self._decoder.end()
                return None
            self._chunks = self._decoder.feed(data)

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()

    def _read_on(self) -> None:
        with suppress(*FAILURES), hangup(cast("httpx.Response", self._response)):
            for _ in self._bytes:
                pass
