"""The asynchronous client, for asyncio and trio: performs the I/O of a call and decides nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from itertools import chain
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, cast, overload
from warnings import warn
from weakref import WeakKeyDictionary

import anyio
import httpx
from anyio import to_thread
from anyio.lowlevel import current_token

from . import _calls
from ._assembly import Assembly, whole
from ._body import araw, areceived, close_soon, run_out
from ._calls import (
    AnswerOptions,
    AnswerT,
    Call,
    CallOptions,
    ChatOptions,
    EmbeddingOptions,
    FIMOptions,
    Messages,
    ParsedT,
    Request,
)
from ._client import Client
from ._config import Limits, resolve, secret
from ._embedding_batches import BATCH_SIZE, MAX_BATCH_TOKENS, Progress, embed_all
from ._exchange import Effort, Response, Step, Wait, exchange, opens_stream
from ._flow import Flow, ResultT, Run, Together
from ._limiter import RateLimiter
from ._pool import AsyncPoolTransport
from ._retry import RetryBudget, RetryPolicy
from ._stream import Stream
from ._tell import atell, checked_hooks
from ._transport import FAILURES, build_request, checked, failure, local_server, log
from ._watch import Tell
from .exceptions import MistralException
from .hooks import Hooks
from .models.chat_completion import ChatCompletionResponse, ChatCompletionStreamResponse
from .models.embeddings import EmbeddingResponse
from .models.models import ModelCard, ModelDeleted, ModelList

if TYPE_CHECKING:
    from ._structured import Form, ParsedChatCompletionResponse
    from ._tools import ToolRun, ToolStep

_Receive = Callable[[httpx.Response], Awaitable[Response]]


class MistralAsyncClient(Client):
    """An asynchronous client of Mistral's API, or of the local server; for asyncio and trio.

    max_concurrent_requests: more wait for one of these to end.
    The other arguments are those of `MistralClient`, with httpx's async counterparts.

    It may be used in one event loop after another. Close it with `await client.close()`, or use it in an `async with`
    block.
    Raises `ConfigurationError` when it cannot be built like this.
    """

    _asynchronous = True
    _no_transports = WeakKeyDictionary
    _shared: Callable[[], httpx.AsyncBaseTransport] | None = None  # of a client that shares another's connections

    def __init__(
        self,
        api_key: str | Callable[[], str] | None = None,
        endpoint: str | None = None,
        max_retries: int = 2,
        timeout: float | httpx.Timeout = 120.0,
        max_concurrent_requests: int = 64,
        *,
        deadline: float | None = None,
        trust_env: bool = True,
        limits: Limits | None = None,
        limiter: RateLimiter | None = None,
        http_client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        hooks: Iterable[Hooks] = (),
    ) -> None:
        key = secret(api_key)
        del api_key
        told = checked_hooks(hooks, asynchronous=True)
        self._config = resolve(key, endpoint, max_retries, deadline, limits, trust_env, told)
        self._policy = RetryPolicy(self._config.max_retries)
        self._budget = RetryBudget()
        self._limiter = limiter
        self._given = http_client
        if http_client is None and transport is None and self._config.local_model is not None:
            transport = local_server().async_transport(self._config.local_model)
        self._timeout = checked(timeout)
        self._transport = transport
        self._max_connections = max_concurrent_requests
        # Connections belong to an event loop and end with it, so each loop has a pool of its own; None when closed.
        self._transports: WeakKeyDictionary[Any, httpx.AsyncBaseTransport | None] = WeakKeyDictionary()

    async def list_models(
        self, *, provider: str | None = None, model: str | None = None, **options: Unpack[CallOptions]
    ) -> ModelList:
        """The models that the server offers; of one provider, or of one name, where the server can choose."""
        return await self._answer(_calls.list_models(options, {"provider": provider, "model": model}))

    async def retrieve_model(self, model_id: str, **options: Unpack[CallOptions]) -> ModelCard:
        """One model of the server."""
        return await self._answer(_calls.retrieve_model(model_id, options))

    async def delete_model(self, model_id: str, **options: Unpack[CallOptions]) -> ModelDeleted:
        """Delete a fine-tuned model of one's own."""
        return await self._answer(_calls.delete_model(model_id, options))

    @overload
    async def chat(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatCompletionResponse: ...
    @overload
    async def chat(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: type[ParsedT],
        max_reasks: int = 0,
        **options: Unpack[ChatOptions],
    ) -> ParsedChatCompletionResponse[ParsedT]: ...
    @overload
    async def chat(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: Any,
        max_reasks: int = 0,
        **options: Unpack[ChatOptions],
    ) -> ParsedChatCompletionResponse[Any]: ...
    async def chat(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: Any = None,
        max_reasks: int = 0,
        **options: Unpack[ChatOptions],
    ) -> ChatCompletionResponse:
        """The answer to a conversation.

        messages and model: in either order, as both were in use. Messages are `ChatMessage` objects or dicts.
        response_model: a type that the answer shall be read into, as `parsed`: a pydantic model, a dataclass, a
            TypedDict, `list[int]` or any other that pydantic can describe.
        max_reasks: how often the model is asked again where its answer is not of that type, and is told why.
        options: temperature, top_p, max_tokens, stop, random_seed, tools and the rest of `ChatOptions`.

        Raises `ArgumentError` before anything is sent, `ResponseParsingError` for an answer that is not of the type, or
        another `MistralException`.
        """
        if response_model is not None or max_reasks:
            from . import _structured  # noqa: PLC0415  # who does without need not wait for it

            return await self._follow(_structured.asking(messages, model, response_model, max_reasks, options))
        return await self._answer(_calls.chat(messages, model, options))

    @overload
    def chat_stream(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncChatStream[ChatCompletionStreamResponse]: ...
    @overload
    def chat_stream(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: type[ParsedT],
        **options: Unpack[ChatOptions],
    ) -> AsyncParsedChatStream[ParsedT]: ...
    @overload
    def chat_stream(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: Any,
        **options: Unpack[ChatOptions],
    ) -> AsyncParsedChatStream[Any]: ...
    def chat_stream(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: Any = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncChatStream[ChatCompletionStreamResponse]:
        """The answer to a conversation, in chunks as they are generated; arguments as in `chat`. Not awaited.

        The request is sent at the first iteration, or on entering an `async with` block.
        """
        if response_model is not None:
            from . import _structured  # noqa: PLC0415

            form = _structured.form_of(response_model)
            call = _calls.chat_stream(messages, model, form.asked(options))
            return AsyncParsedChatStream(call, self._send, self._config, form)
        return AsyncChatStream(_calls.chat_stream(messages, model, options), self._send, self._config)

    async def run_tools(
        self,
        messages: Messages | str,
        model: str | Messages,
        tools: Iterable[Callable[..., Any]],
        *,
        max_steps: int = 10,
        on_step: Callable[[ToolStep], Any] | None = None,
        raise_errors: bool = False,
        **options: Unpack[AnswerOptions],
    ) -> ToolRun:
        """A conversation in which the model calls Python functions, until its answer calls none.

        tools: functions with annotated parameters and a docstring, as for `tool_of`; their arguments are checked.
            Asynchronous functions need a `MistralAsyncClient`, which calls the others in threads.
        max_steps: at most so many answers.
        on_step: called after each answer and its calls. What it raises ends the conversation.
        raise_errors: what a function raises is raised, and not told to the model.
        options: as in `chat`. A `tool_choice` that demands a call is for the first answer; later ones are free.

        Raises `TooManyToolSteps`, which holds the conversation, when the last answer that may be still calls functions;
        `ArgumentError` before anything is sent, or another `MistralException`.
        """
        from . import _tools  # noqa: PLC0415

        offered = _tools.offered(tools, asynchronous=self._asynchronous)
        flow = _tools.running(
            messages, model, offered, options, max_steps=max_steps, on_step=on_step, raise_errors=raise_errors
        )
        return await self._follow(flow)

    async def embeddings(
        self, model: str, input: str | Iterable[str], **options: Unpack[EmbeddingOptions]
    ) -> EmbeddingResponse:
        """One vector for each text of the input, in its order."""
        return await self._answer(_calls.embeddings(model, input, options))

    async def embed_all(
        self,
        model: str,
        texts: str | Iterable[str],
        *,
        batch_size: int = BATCH_SIZE,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        max_concurrent_requests: int = 4,
        progress: Progress = None,
        **options: Unpack[EmbeddingOptions],
    ) -> EmbeddingResponse:
        """One vector for each of any number of texts, in their order, as one answer.

        Texts are drawn from their iterable and sent in batches, several at a time, each of which is retried like any
        call.

        batch_size: texts in a request.
        max_batch_tokens: tokens in a request, estimated as one for two bytes of UTF-8, which is more than most texts
            have; a batch that the server finds too large is split.
        progress: called with the number of texts that are done and that of all, None where they cannot be counted. True
            draws a bar, by tqdm.
        options: those of `embeddings`; they hold for each request.

        Raises the error of the first batch that fails. Its `batch` has the places of the batch's texts, its
        `embeddings` the vectors that had arrived.
        """
        return await self._follow(
            embed_all(model, texts, batch_size, max_batch_tokens, max_concurrent_requests, progress, options)
        )

    async def completion(
        self, model: str, prompt: str, suffix: str | None = None, **options: Unpack[FIMOptions]
    ) -> ChatCompletionResponse:
        """What stands between the prompt and the suffix, usually code; without a suffix, what comes after the prompt.

        options: temperature, top_p, max_tokens, stop, random_seed and the rest of `FIMOptions`.

        Raises `ArgumentError` before anything is sent, or another `MistralException`.
        """
        return await self._answer(_calls.completion(model, prompt, suffix, options))

    def completion_stream(
        self, model: str, prompt: str, suffix: str | None = None, **options: Unpack[FIMOptions]
    ) -> AsyncChatStream[ChatCompletionStreamResponse]:
        """The same as `completion`, in chunks as they are generated. Not awaited.

        The request is sent at the first iteration, or on entering an `async with` block.
        """
        return AsyncChatStream(_calls.completion_stream(model, prompt, suffix, options), self._send, self._config)

    async def close(self) -> None:
        """Close the connections of this event loop. The client cannot be used in it afterwards."""
        loop = current_token().native_token
        transport = self._transports.get(loop)
        self._transports[loop] = None
        if transport is not None:
            await transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _respond(self, call: Call[AnswerT], step: Request) -> httpx.Response:
        """The response to a request, its body unread."""
        given = self._given
        if given is not None:
            request = build_request(self._config, call, step, self._timeout_of_given or given.timeout, given)
            return await given.send(request, stream=True, follow_redirects=False)
        request = build_request(self._config, call, step, self._timeout)
        # Past `httpx.AsyncClient`: its cookies, redirects, hooks and log have no use here, and cost more than the rest.
        response = await self._own_transport().handle_async_request(request)
        response.request = request
        return response

    def _own_transport(self) -> httpx.AsyncBaseTransport:
        """The connections of the event loop that runs."""
        loop = current_token().native_token
        if loop not in self._transports:
            if self._shared is not None:
                return self._shared()
            self._transports[loop] = self._transport or AsyncPoolTransport(self._config, self._max_connections)
        transport = self._transports[loop]
        if transport is None:
            raise RuntimeError("the client is closed")
        return transport

    async def _follow(self, flow: Flow[ResultT]) -> ResultT:
        """What the flow comes to."""
        with closing(flow):
            step = partial(next, flow)
            while True:
                try:
                    doing = step()
                except StopIteration as finished:
                    return cast("ResultT", finished.value)
                try:
                    step = partial(flow.send, await self._do(doing))
                except Exception as error:  # noqa: BLE001  # it is raised in the flow
                    step = partial(flow.throw, error)

    async def _do(self, doing: Call[Any] | Together[Any] | Run) -> Any:
        if isinstance(doing, Call):
            return await self._answer(doing)
        if isinstance(doing, Together):
            return await self._follow_together(doing)
        call = partial(doing.function, **doing.arguments)
        result = call() if iscoroutinefunction(doing.function) else await to_thread.run_sync(call)
        return await result if isawaitable(result) else result

    async def _follow_together(self, doing: Together[ResultT]) -> None:
        places = anyio.Semaphore(doing.at_most)
        failures: list[BaseException] = []

        async def follow(place: int, flow: Flow[ResultT]) -> None:
            with failing():
                doing.done(place, await self._follow(flow))
            places.release()

        @contextmanager
        def failing() -> Iterator[None]:
            """The first failure is kept, to be raised by itself and not in a group."""
            try:
                yield
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001
                failures.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            with failing():
                for place, flow in enumerate(doing.flows):
                    await places.acquire()
                    tasks.start_soon(follow, place, flow)
        if failures:
            raise failures.pop()

    async def _answer(self, call: Call[AnswerT]) -> AnswerT:
        receive = partial(areceived, limits=self._config.limits)
        return cast("AnswerT", await self._send(call, receive, Effort(self._config, call, time.monotonic)))

    async def _send(self, call: Call[AnswerT], receive: _Receive, effort: Effort) -> AnswerT | None:
        """Send the request, as often as it takes; `receive` makes of an HTTP response what the exchange looks at."""
        steps = exchange(call, self._policy, self._budget, effort, _random, self._limiter)
        outcome: Response | MistralException | None = None
        try:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as finished:
                    return cast("AnswerT | None", finished.value)
                started = time.monotonic()
                outcome = await self._perform(call, step, receive)
                log(step, outcome, time.monotonic() - started, effort)
        except BaseException as error:
            # A coroutine that is closed can await nothing more.
            if effort.watch is not None and not isinstance(error, GeneratorExit):
                await atell(effort.watch.ended(error))
            raise

    async def _perform(self, call: Call[AnswerT], step: Step, receive: _Receive) -> Response | MistralException | None:
        if isinstance(step, Wait):
            await anyio.sleep(step.seconds)
            return None
        if isinstance(step, Tell):
            await atell(step)
            return None
        try:
            return await receive(await self._respond(call, step))
        except FAILURES as error:
            return failure(error, self._config)
        except MistralException as error:
            return error


def close_everywhere(client: MistralAsyncClient) -> None:
    """Close the connections of the event loop that runs; others do it when they go on, or have ended with theirs."""
    transports = vars(client)["_transports"]
    running = None
    with suppress(RuntimeError):
        running = current_token().native_token
    for loop, transport in [*transports.items()]:
        transports[loop] = None
        if transport is not None:
            if loop is running:  # and may end before it goes on
                with closing(transport.aclose()) as steps, suppress(StopIteration):
                    while steps.send(None) is None:  # asyncio's "later"; with trio the socket is closed by then
                        pass
            close_soon(loop, transport.aclose)


class AsyncChatStream(Stream[AnswerT]):
    """Chunks as they arrive.

    Iterate it, or use it in an `async with` block, which closes it also when it is left half-way.

    Raises `StreamInterrupted`, with the text received so far, when the stream breaks off before it is whole.
    """

    def __aiter__(self) -> AsyncIterator[AnswerT]:
        return self

    async def __anext__(self) -> AnswerT:
        if self._closed:
            raise StopAsyncIteration
        if not self._begun:
            await self._open()
        try:
            while True:
                for chunk in self._chunks:
                    self._heard = True
                    return chunk
                if not await self._read():
                    break
        except BaseException as error:
            if isinstance(error, MistralException):
                self._outcome = self._effort.written_on(error).again()
            await self._close(error)
            raise
        self._outcome = self._answer
        self._effort.settle(self._answer)
        await self.close()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        if not self._closed:
            if self._response is not None:
                close_soon(self._loop, self._close_quietly)
            warn(_DROPPED, ResourceWarning, source=self, stacklevel=2)

    async def text(self) -> str:
        """The whole text of the first answer. Reads what is left, and raises what the stream raised."""
        return (await self._read_all()).text

    async def final_response(self) -> ChatCompletionResponse:
        """The answer put together from its chunks. Reads what is left, and raises what the stream raised.

        Its usage is 0 tokens, and `created` 0, where the server did not say.
        """
        return (await self._read_all()).response()

    async def close(self) -> None:
        """Give the connection back. What was not read is lost; further iteration ends at once."""
        await self._close()

    async def _close(self, error: BaseException | None = None) -> None:
        self._closed = True
        try:
            await self._hang_up()
        finally:
            if self._begun and self._effort.watch is not None:
                await atell(self._effort.watch.ended(error))

    async def _read_all(self) -> Assembly:
        async for _ in self:
            pass
        return whole(self._outcome, self._answer)

    async def _open(self) -> None:
        if self._begun or self._closed:
            return
        self._effort = Effort(self._config, self._call, time.monotonic)
        self._loop = current_token().native_token
        try:
            await self._send(self._call, self._begin, self._effort)
        except BaseException as error:
            await self.close()
            if isinstance(error, MistralException):
                self._outcome = error.again()
            raise
        self._begun = True

    async def _begin(self, response: httpx.Response) -> Response:
        """Read until the answer begins: until then, all may be tried again."""
        if not opens_stream(self._call, response):
            return await areceived(response, self._config.limits)
        self._response = response
        self._bytes = araw(response)
        try:
            self._start(response)
            ready: list[AnswerT] = []
            while not self._decoder.answer.begun and await self._read():
                ready += self._until_begun()
            self._chunks = chain(ready, self._chunks)
        except BaseException:
            await self._hang_up()
            raise
        return response

    async def _read(self) -> bool:
        """Read on; whether there was more to read."""
        if self._decoder.done:
            await run_out(self._bytes)
            return False
        self._listen(cast("httpx.Response", self._response))
        data = broken = None
        try:
            data = await anext(self._bytes, None)
        except FAILURES as error:
            broken = failure(error, self._config)
        return self._take(data, broken)

    async def _hang_up(self) -> None:
        if self._response is not None:
            with anyio.CancelScope(shield=True):
                await self._response.aclose()
            await run_out(self._bytes)

    async def _close_quietly(self) -> None:
        with suppress(Exception):
            await self.close()


class AsyncParsedChatStream(AsyncChatStream[ChatCompletionStreamResponse], Generic[ParsedT]):
    """A stream whose answer is read into a type. It is iterated for its chunks, or by `partials` for its value."""

    _form: Form[ParsedT]

    async def partials(self) -> AsyncIterator[Any]:
        """The value as it grows, with each chunk that adds to it: plain JSON values, not checked, the last one whole.

        A text or a number that is still coming is given as far as it has come.
        """
        growth = self._form.growth()
        async for _ in self:
            for value in growth.of(self._answer.text if self._answer else ""):
                yield value

    async def final_response(self) -> ParsedChatCompletionResponse[ParsedT]:
        """The answer put together from its chunks, and its value. Reads what is left.

        Raises what the stream raised, or `ResponseParsingError` for an answer that is not of the type.
        """
        return self._form.parsed(await super().final_response())


_DROPPED = "an AsyncChatStream was dropped before its end: read it, use it in an `async with` block, or close it"
_random = SystemRandom().random  # of the system: whoever seeds Python's would send the same Idempotency-Key again
