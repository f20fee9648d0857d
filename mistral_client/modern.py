"""The call style of later clients: the same calls on the same core, in another spelling."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, TypeVar, Unpack, cast

import httpx

from ._calls import CallOptions, ChatOptions, EmbeddingOptions, FIMOptions, Messages, ParsedT, SamplingOptions
from ._config import secret
from ._headers import merged
from ._retry import RetryPolicy
from .async_client import AsyncChatStream, MistralAsyncClient, close_everywhere
from .client import MistralClient
from .exceptions import ArgumentError
from .hooks import Hooks
from .models.chat_completion import ChatCompletionResponse, ChatCompletionStreamResponse
from .models.embeddings import EmbeddingResponse
from .models.models import ModelCard, ModelDeleted, ModelList

if TYPE_CHECKING:
    from ._structured import ParsedChatCompletionResponse

ResultT = TypeVar("ResultT")
P = ParamSpec("P")

Unset = IntEnum("Unset", [("UNSET", 0)])
UNSET: Any = Unset.UNSET  # what was not given; None, in contrast, is sent as null where later clients send it so


def BackoffStrategy(  # noqa: N802
    initial_interval: int, max_interval: int, exponent: float, max_elapsed_time: int, jitter_ms: int | None = None
) -> RetryPolicy:
    """A policy, in milliseconds; the last since the call began. All waits are random, whatever `jitter_ms` is."""
    times = [time / 1000 for time in (initial_interval, max_interval, max_elapsed_time, jitter_ms or 0)]
    if min(times) < 0 or not 0 < exponent <= 10_000:  # which is a float still when multiplied 64 times
        raise ArgumentError("BackoffStrategy: a time is less than 0, or the exponent is")
    return RetryPolicy(sys.maxsize, first=times[0], longest=times[1], within=times[2], factor=exponent)


def RetryConfig(  # noqa: N802
    strategy: str, backoff: RetryPolicy, retry_connection_errors: bool, status_codes_override: list[Any] | None = None
) -> RetryPolicy:
    """The policy; never to try again, where the strategy is not "backoff" but "none"."""
    if strategy not in {"backoff", "none"}:
        raise ArgumentError(f"strategy: {strategy!r} is neither 'backoff' nor 'none'")
    codes = frozenset(map(int, status_codes_override or ())) or None
    tried = sys.maxsize if strategy == "backoff" else 0
    return replace(backoff, max_retries=tried, connections=retry_connection_errors, status_codes=codes)


class PerCall(CallOptions, total=False):
    """What every method of a `Mistral` takes by keyword.

    retries, server_url, timeout_ms: in place of the client's; `retries=None` for none. http_headers: sent as well.
    """

    retries: RetryPolicy | None
    server_url: str | None
    timeout_ms: float | None
    http_headers: Mapping[str, str] | None
    stream: bool | None


class ParseArguments(PerCall, SamplingOptions, total=False):
    """What `chat.parse` and `chat.parse_stream` take by keyword."""


class ChatArguments(PerCall, ChatOptions, total=False):
    """What `chat.complete` and `chat.stream` take by keyword."""


class FIMArguments(PerCall, FIMOptions, total=False):
    """What `fim.complete` and `fim.stream` take by keyword."""

    suffix: str | None


class EmbeddingArguments(PerCall, EmbeddingOptions, total=False):
    """What `embeddings.create` takes by keyword."""


@dataclass(slots=True)
class CompletionEvent:
    """An event of a stream: `data` is the chunk."""

    data: ChatCompletionStreamResponse


class EventStream(
    Iterator[CompletionEvent],
    AsyncIterator[CompletionEvent],
    AbstractContextManager["EventStream"],
    AbstractAsyncContextManager["EventStream"],
):
    """Events as they arrive. Iterate it, or use it in a `with` block, which closes it also when it is left half-way.

    It has what the stream of our own style has as well: `close`, `text`, `final_response`, `usage` and so on; of an
    answer that is parsed also `partials`. A stream that was awaited is asynchronous, with all of this.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __next__(self) -> CompletionEvent:
        return CompletionEvent(next(self._stream))

    async def __anext__(self) -> CompletionEvent:
        return CompletionEvent(await anext(self._stream))

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    async def __aexit__(self, *_: object) -> None:
        await self._stream.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._stream, name)


def _elsewhere(_: object) -> NoReturn:
    raise NotImplementedError("this is not in mistral_client, but in Mistral's official package: mistralai")


class _Part:
    """A part of a `Mistral`. Every method has a twin whose name ends in `_async`, on the other kind of client."""

    def __init__(self, whole: Mistral, kind: type[MistralClient | MistralAsyncClient] = MistralClient) -> None:
        self._whole, self._kind = whole, kind
        self._twin = self if kind is MistralAsyncClient else type(self)(whole, MistralAsyncClient)

    def _do(
        self, method: Callable[..., ResultT], given: Mapping[str, Any], *own: Any, streamed: bool = False, **more: Any
    ) -> ResultT:
        client, options = self._whole.asked(self._kind, given, streamed=streamed)
        return cast("ResultT", getattr(client, method.__name__)(*own, **more, **options))

    def _events(self, method: Callable[..., Any], given: Mapping[str, Any], *own: Any, **more: Any) -> EventStream:
        stream = self._do(method, given, *own, streamed=True, **more)
        return cast("EventStream", stream.__aenter__()) if self._twin is self else EventStream(stream.__enter__())


def _asynchronous(
    method: Callable[Concatenate[Any, P], ResultT],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, ResultT]]:
    @wraps(method)
    async def twin(self: Any, *args: P.args, **options: P.kwargs) -> Any:
        result = await cast("Any", method(self._twin, *args, **options))
        return EventStream(result) if isinstance(result, AsyncChatStream) else result

    twin.__name__, twin.__qualname__ = f"{method.__name__}_async", f"{method.__qualname__}_async"
    return cast("Callable[Concatenate[Any, P], Coroutine[Any, Any, ResultT]]", twin)


class Chat(_Part):
    """Answers to conversations. Every method has a twin whose name ends in `_async`, which is awaited."""

    def complete(self, *, model: str, messages: Messages, **options: Unpack[ChatArguments]) -> ChatCompletionResponse:
        """The answer."""
        return self._do(MistralClient.chat, options, messages, model)

    def stream(self, *, model: str, messages: Messages, **options: Unpack[ChatArguments]) -> EventStream:
        """The answer in chunks, as they are generated. The request is sent at once."""
        return self._events(MistralClient.chat_stream, options, messages, model)

    def parse(
        self, response_format: type[ParsedT], *, model: str, messages: Messages, **options: Unpack[ParseArguments]
    ) -> ParsedChatCompletionResponse[ParsedT]:
        """The answer read into a type, as `parsed` of the answer and of its message.

        response_format: what `response_model` may be in `MistralClient.chat`; a pydantic model, for one.
        """
        answer = self._do(MistralClient.chat, options, messages, model, response_model=response_format)
        return cast("ParsedChatCompletionResponse[ParsedT]", answer)

    def parse_stream(
        self, response_format: type[Any], *, model: str, messages: Messages, **options: Unpack[ParseArguments]
    ) -> EventStream:
        """The same as `stream`; `final_response` gives what `parse` gives, `partials` the value as it grows."""
        return self._events(MistralClient.chat_stream, options, messages, model, response_model=response_format)

    complete_async = _asynchronous(complete)
    stream_async = _asynchronous(stream)
    parse_async = _asynchronous(parse)
    parse_stream_async = _asynchronous(parse_stream)


class FIM(_Part):
    def complete(self, *, model: str, prompt: str, **options: Unpack[FIMArguments]) -> ChatCompletionResponse:
        """The text between the prompt and the suffix."""
        return self._do(MistralClient.completion, options, model, prompt)

    def stream(self, *, model: str, prompt: str, **options: Unpack[FIMArguments]) -> EventStream:
        """The same in chunks, as they are generated. The request is sent at once."""
        return self._events(MistralClient.completion_stream, options, model, prompt)

    complete_async = _asynchronous(complete)
    stream_async = _asynchronous(stream)


class Embeddings(_Part):
    def create(
        self, *, model: str, inputs: str | Iterable[str], **options: Unpack[EmbeddingArguments]
    ) -> EmbeddingResponse:
        """One vector for each text."""
        return self._do(MistralClient.embeddings, options, model, inputs)

    create_async = _asynchronous(create)


class Models(_Part):
    """What the server offers."""

    update = update_async = archive = archive_async = unarchive = unarchive_async = property(_elsewhere)

    def list(self, *, provider: str | None = UNSET, model: str | None = UNSET, **options: Unpack[PerCall]) -> ModelList:
        """The models; of one provider, or of one name, where the server can choose."""
        return self._do(MistralClient.list_models, options, provider=provider or None, model=model or None)

    def retrieve(self, *, model_id: str, **options: Unpack[PerCall]) -> ModelCard:
        """One model."""
        return self._do(MistralClient.retrieve_model, options, model_id)

    def delete(self, *, model_id: str, **options: Unpack[PerCall]) -> ModelDeleted:
        """Delete a fine-tuned model of one's own."""
        return self._do(MistralClient.delete_model, options, model_id)

    list_async = _asynchronous(list)  # noqa: A003
    retrieve_async = _asynchronous(retrieve)
    delete_async = _asynchronous(delete)


class Mistral(AbstractContextManager["Mistral"], AbstractAsyncContextManager["Mistral"]):
    """A client of Mistral's API, or of the local server, in the style of later clients; synchronous and asynchronous.

    api_key: as in `MistralClient`. server_url, timeout_ms: its `endpoint`, and its `timeout` in milliseconds.
    retry_config: when a request is tried again; without it as in `MistralClient`, None for never.
    client, async_client: ready httpx clients to use in place of own ones; they stay open.
    hooks: told of every call. Those with coroutines can be told of asynchronous calls only.

    Close it, or use it in a `with` or `async with` block, to close all its connections.
    Raises `ConfigurationError` or `ArgumentError` when it cannot be built like this.
    """

    agents = audio = batch = beta = classifiers = events = files = property(_elsewhere)
    fine_tuning = ocr = realtime = responses = workflows = property(_elsewhere)

    def __init__(
        self,
        api_key: str | Callable[[], str] | None = None,
        *,
        server_url: str | None = None,
        timeout_ms: float | None = None,
        retry_config: RetryPolicy | None = UNSET,
        client: httpx.Client | None = None,
        async_client: httpx.AsyncClient | None = None,
        hooks: Iterable[Hooks] = (),
    ) -> None:
        self._api_key = secret(api_key)
        del api_key
        self._server_url = server_url
        self._given = {MistralClient: client, MistralAsyncClient: async_client}
        self._hooks = tuple(hooks)
        self._defaults = {"timeout_ms": timeout_ms, "retries": retry_config}
        self._clients: dict[tuple[type, str | None], Any] = {}
        self._closed = False
        self.chat, self.fim, self.embeddings, self.models = Chat(self), FIM(self), Embeddings(self), Models(self)
        self.asked(MistralAsyncClient, {})  # what is wrong is told now, by the kind of client that takes all hooks

    def asked(self, kind: type[Any], given: Mapping[str, Any], *, streamed: bool = False) -> tuple[Any, dict[str, Any]]:
        """The client of our own style that makes a call, and the options that it is given. Raises `ArgumentError`."""
        if self._closed:
            raise RuntimeError("the client is closed")
        options = _options(self._defaults, given, streamed=streamed)
        server_url = options.pop("server_url", None) or self._server_url
        client = self._clients.get((kind, server_url))
        if client is None:
            client = kind(self._api_key, server_url, http_client=self._given[kind], hooks=self._hooks)
            client = self._clients.setdefault((kind, server_url), client)  # of two threads the first one's stays
        return client, options

    def close(self) -> None:
        """Close all connections, those of other event loops when they go on. The client cannot be used afterwards."""
        self._closed = True
        for client in self._clients.values():
            client.close() if isinstance(client, MistralClient) else close_everywhere(client)

    async def aclose(self) -> None:
        """Close all connections. The client cannot be used afterwards."""
        for client in [each for each in self._clients.values() if isinstance(each, MistralAsyncClient)]:
            await client.close()
        self.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _options(defaults: Mapping[str, Any], given: Mapping[str, Any], *, streamed: bool) -> dict[str, Any]:
    """What is given to a method of a `Mistral`, or else to itself, as options of ours. Raises `ArgumentError`."""
    options = {name: value for name, value in given.items() if value is not UNSET}
    if options.pop("stream", None) not in {None, streamed}:
        raise ArgumentError("stream: an answer in chunks is another method's")
    nulls = {name: None for name, value in options.items() if value is None and name in _NULLABLE}
    options["extra_body"] = nulls | dict(options.get("extra_body") or {})
    timeout = options.pop("timeout_ms", None)
    timeout = defaults["timeout_ms"] if timeout is None else timeout
    if timeout is not None:
        if not timeout > 0:
            raise ArgumentError(f"timeout_ms: {timeout!r} is not a number of milliseconds above 0")
        options["timeout"] = timeout / 1000
    retries = options.pop("retries", defaults["retries"])
    if retries is not UNSET:
        options["max_retries"] = retries or RetryPolicy(max_retries=0)
    options["extra_headers"] = merged(options.get("extra_headers") or {}, options.pop("http_headers", None) or {})
    return options


EventStreamAsync = EventStream
# With other arguments None means what UNSET means, with later clients too.
_NULLABLE = {*ChatOptions.__optional_keys__, "suffix", "output_dimension"} - {
    *CallOptions.__optional_keys__,
    *("response_format", "tool_choice", "prediction", "parallel_tool_calls", "safe_prompt", "safe_mode"),
}
