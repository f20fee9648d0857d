"""The synchronous client: performs the I/O of a call and decides nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent import futures
from contextlib import closing, suppress
from contextvars import copy_context
from functools import partial
from importlib import import_module
from inspect import isawaitable
from itertools import chain
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, cast, overload
from warnings import warn

import httpx

from . import _calls
from ._assembly import Assembly, whole
from ._body import hangup, raw, received
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
from ._pool import PoolTransport
from ._retry import RetryBudget, RetryPolicy
from ._stream import Stream
from ._tell import checked_hooks, tell
from ._transport import FAILURES, build_request, checked, failure, local_server, log
from ._watch import Tell
from .exceptions import ArgumentError, MistralException
from .hooks import Hooks
from .models.chat_completion import ChatCompletionResponse, ChatCompletionStreamResponse
from .models.embeddings import EmbeddingResponse
from .models.models import ModelCard, ModelDeleted, ModelList

if TYPE_CHECKING:
    from ._structured import Form, ParsedChatCompletionResponse
    from ._tools import ToolRun, ToolStep
    from .modern import Mistral as Mistral  # noqa: PLC0414  # for whoever imports it from here

_Receive = Callable[[httpx.Response], Response]


class MistralClient(Client):
    """A client of Mistral's API, or of the local server.

    api_key: or a function that gives it, asked for each request; else `MISTRAL_API_KEY`. The local server needs none.
    endpoint: a URL with or without `/v1`; `local` for a Mixtral in this process, `local:MODEL` for another model or
        file. Else `MISTRAL_ENDPOINT`, else Mistral's own.
    max_retries: requests after the first, where the error may pass.
    timeout: seconds, or an `httpx.Timeout`: to get a connection, to connect, to send, and until the answer is there; of
        a stream, until its first chunk and then between chunks.
    deadline: seconds that a call may take as a whole, with its retries and the waits between them.
    trust_env: use the proxies and certificates that the environment names.
    limits: the most that is read of what a server sends.
    limiter: holds requests back, so that no more go out in a minute than it allows.
    http_client: a ready client to use in place of an own one; it stays open when this one is closed, and its own
        timeout, proxies and certificates hold. It, and a transport, may take the time for each read and not for all.
    transport: a ready transport for the own client.
    hooks: told of every call, its requests and its end.

    Safe to share between threads, and to use on both sides of a fork. Close it, or use it in a `with` block, to close
    its connections.
    Raises `ConfigurationError` when it cannot be built like this.
    """

    _asynchronous = False
    _no_transports = dict
    _shared: Callable[[], httpx.BaseTransport] | None = None  # of a client that shares another's connections

    def __init__(
        self,
        api_key: str | Callable[[], str] | None = None,
        endpoint: str | None = None,
        max_retries: int = 2,
        timeout: float | httpx.Timeout = 120.0,
        *,
        deadline: float | None = None,
        trust_env: bool = True,
        limits: Limits | None = None,
        limiter: RateLimiter | None = None,
        http_client: httpx.Client | None = None,
        transport: httpx.BaseTransport | None = None,
        hooks: Iterable[Hooks] = (),
    ) -> None:
        key = secret(api_key)
        del api_key
        told = checked_hooks(hooks, asynchronous=False)
        self._config = resolve(key, endpoint, max_retries, deadline, limits, trust_env, told)
        self._policy = RetryPolicy(self._config.max_retries)
        self._budget = RetryBudget()
        self._limiter = limiter
        self._given = http_client
        if http_client is None and transport is None and self._config.local_model is not None:
            transport = local_server().sync_transport(self._config.local_model)
        self._timeout = checked(timeout)
        self._transport = transport
        # A forked process must not write on its parent's connections, so each process has a pool of its own.
        self._transports: dict[int, httpx.BaseTransport] = {}
        self._closed = False

    def list_models(
        self, *, provider: str | None = None, model: str | None = None, **options: Unpack[CallOptions]
    ) -> ModelList:
        """The models that the server offers; of one provider, or of one name, where the server can choose."""
        return self._answer(_calls.list_models(options, {"provider": provider, "model": model}))

    def retrieve_model(self, model_id: str, **options: Unpack[CallOptions]) -> ModelCard:
        """One model of the server."""
        return self._answer(_calls.retrieve_model(model_id, options))

    def delete_model(self, model_id: str, **options: Unpack[CallOptions]) -> ModelDeleted:
        """Delete a fine-tuned model of one's own."""
        return self._answer(_calls.delete_model(model_id, options))

    @overload
    def chat(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatCompletionResponse: ...
    @overload
    def chat(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: type[ParsedT],
        max_reasks: int = 0,
        **options: Unpack[ChatOptions],
    ) -> ParsedChatCompletionResponse[ParsedT]: ...
    @overload
    def chat(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: Any,
        max_reasks: int = 0,
        **options: Unpack[ChatOptions],
    ) -> ParsedChatCompletionResponse[Any]: ...
    def chat(
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

            return self._follow(_structured.asking(messages, model, response_model, max_reasks, options))
        return self._answer(_calls.chat(messages, model, options))

    @overload
    def chat_stream(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatStream[ChatCompletionStreamResponse]: ...
    @overload
    def chat_stream(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: type[ParsedT],
        **options: Unpack[ChatOptions],
    ) -> ParsedChatStream[ParsedT]: ...
    @overload
    def chat_stream(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: Any,
        **options: Unpack[ChatOptions],
    ) -> ParsedChatStream[Any]: ...
    def chat_stream(
        self,
        messages: Messages | str,
        model: str | Messages | None = None,
        *,
        response_model: Any = None,
        **options: Unpack[ChatOptions],
    ) -> ChatStream[ChatCompletionStreamResponse]:
        """The answer to a conversation, in chunks as they are generated; arguments as in `chat`.

        The request is sent at the first iteration, or on entering a `with` block.
        """
        if response_model is not None:
            from . import _structured  # noqa: PLC0415

            form = _structured.form_of(response_model)
            call = _calls.chat_stream(messages, model, form.asked(options))
            return ParsedChatStream(call, self._send, self._config, form)
        return ChatStream(_calls.chat_stream(messages, model, options), self._send, self._config)

    def run_tools(
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
        return self._follow(flow)

    def embeddings(
        self, model: str, input: str | Iterable[str], **options: Unpack[EmbeddingOptions]
    ) -> EmbeddingResponse:
        """One vector for each text of the input, in its order."""
        return self._answer(_calls.embeddings(model, input, options))

    def embed_all(
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
        return self._follow(
            embed_all(model, texts, batch_size, max_batch_tokens, max_concurrent_requests, progress, options)
        )

    def completion(
        self, model: str, prompt: str, suffix: str | None = None, **options: Unpack[FIMOptions]
    ) -> ChatCompletionResponse:
        """What stands between the prompt and the suffix, usually code; without a suffix, what comes after the prompt.

        options: temperature, top_p, max_tokens, stop, random_seed and the rest of `FIMOptions`.

        Raises `ArgumentError` before anything is sent, or another `MistralException`.
        """
        return self._answer(_calls.completion(model, prompt, suffix, options))

    def completion_stream(
        self, model: str, prompt: str, suffix: str | None = None, **options: Unpack[FIMOptions]
    ) -> ChatStream[ChatCompletionStreamResponse]:
        """The same as `completion`, in chunks as they are generated.

        The request is sent at the first iteration, or on entering a `with` block.
        """
        return ChatStream(_calls.completion_stream(model, prompt, suffix, options), self._send, self._config)

    def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        self._closed = True
        transport = self._transports.get(os.getpid())
        if transport is not None:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _respond(self, call: Call[AnswerT], step: Request) -> httpx.Response:
        """The response to a request, its body unread."""
        given = self._given
        if given is not None:
            request = build_request(self._config, call, step, self._timeout_of_given or given.timeout, given)
            return given.send(request, stream=True, follow_redirects=False)
        request = build_request(self._config, call, step, self._timeout)
        # Past `httpx.Client`: its cookies, redirects, hooks and log have no use here, and take as long as the rest.
        response = self._own_transport().handle_request(request)
        response.request = request
        return response

    def _own_transport(self) -> httpx.BaseTransport:
        """The connections of this process."""
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._shared is not None:
            return self._shared()
        process = os.getpid()
        transport = self._transports.get(process)
        if transport is None:
            own = self._transport or PoolTransport(self._config, _MAX_CONNECTIONS)
            transport = self._transports.setdefault(process, own)  # of two threads the first one's stays
        return transport

    def _follow(self, flow: Flow[ResultT]) -> ResultT:
        """What the flow comes to."""
        with closing(flow):
            step = partial(next, flow)
            while True:
                try:
                    doing = step()
                except StopIteration as finished:
                    return cast("ResultT", finished.value)
                try:
                    step = partial(flow.send, self._do(doing))
                except Exception as error:  # noqa: BLE001  # it is raised in the flow
                    step = partial(flow.throw, error)

    def _do(self, doing: Call[Any] | Together[Any] | Run) -> Any:
        if isinstance(doing, Call):
            return self._answer(doing)
        if isinstance(doing, Together):
            return self._follow_together(doing)
        result = doing.function(**doing.arguments)
        if isawaitable(result):
            if isinstance(result, Coroutine):
                result.close()
            raise ArgumentError(f"{doing.function!r} is asynchronous, and needs a MistralAsyncClient")
        return result

    def _follow_together(self, doing: Together[ResultT]) -> None:
        running: dict[futures.Future[ResultT], int] = {}
        given_up = threading.Event()
        try:
            with futures.ThreadPoolExecutor(
                doing.at_most, "mistral_client", initializer=setattr, initargs=(_WORKER, "given_up", given_up)
            ) as threads:
                try:
                    for place, flow in enumerate(doing.flows):
                        running[threads.submit(copy_context().run, self._follow, flow)] = place
                        self._take(running, doing, leave=doing.at_most - 1)
                    self._take(running, doing, leave=0)
                finally:
                    given_up.set()
        finally:
            for late, place in running.items():
                if late.done() and late.exception() is None:
                    with suppress(Exception):  # the first failure is the one that is raised
                        doing.done(place, late.result())

    @staticmethod
    def _take(running: dict[futures.Future[ResultT], int], doing: Together[ResultT], *, leave: int) -> None:
        """Wait until no more than so many run."""
        while len(running) > leave:
            for finished in futures.wait(running, return_when=futures.FIRST_COMPLETED).done:
                doing.done(running.pop(finished), finished.result())

    def _answer(self, call: Call[AnswerT]) -> AnswerT:
        receive = partial(received, limits=self._config.limits)
        return cast("AnswerT", self._send(call, receive, Effort(self._config, call, time.monotonic)))

    def _send(self, call: Call[AnswerT], receive: _Receive, effort: Effort) -> AnswerT | None:
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
                outcome = self._perform(call, step, receive)
                log(step, outcome, time.monotonic() - started, effort)
        except BaseException as error:
            if effort.watch is not None:
                tell(effort.watch.ended(error))
            raise

    def _perform(self, call: Call[AnswerT], step: Step, receive: _Receive) -> Response | MistralException | None:
        given_up: threading.Event | None = getattr(_WORKER, "given_up", None)
        if isinstance(step, Wait):
            (time.sleep if given_up is None else given_up.wait)(step.seconds)
            return None
        if isinstance(step, Tell):
            tell(step)
            return None
        if given_up is not None and given_up.is_set():
            raise futures.CancelledError
        try:
            return receive(self._respond(call, step))
        except FAILURES as error:
            return failure(error, self._config)
        except MistralException as error:
            return error


class ChatStream(Stream[AnswerT]):
    """Chunks as they arrive.

    Iterate it, or use it in a `with` block, which closes it also when it is left half-way.

    Raises `StreamInterrupted`, with the text received so far, when the stream breaks off before it is whole.
    """

    def __iter__(self) -> Iterator[AnswerT]:
        return self

    def __next__(self) -> AnswerT:
        if self._closed:
            raise StopIteration
        if not self._begun:
            self._open()
        try:
            while True:
                for chunk in self._chunks:
                    self._heard = True
                    return chunk
                if not self._read():
                    break
        except BaseException as error:
            if isinstance(error, MistralException):
                self._outcome = self._effort.written_on(error).again()
            self._close(error)
            raise
        self._outcome = self._answer
        self._effort.settle(self._answer)
        self.close()
        raise StopIteration

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            self.close()
            warn(_DROPPED, ResourceWarning, source=self, stacklevel=2)

    def text(self) -> str:
        """The whole text of the first answer. Reads what is left, and raises what the stream raised."""
        return self._read_all().text

    def final_response(self) -> ChatCompletionResponse:
        """The answer put together from its chunks. Reads what is left, and raises what the stream raised.

        Its usage is 0 tokens, and `created` 0, where the server did not say.
        """
        return self._read_all().response()

    def close(self) -> None:
        """Give the connection back. What was not read is lost; further iteration ends at once."""
        self._close()

    def _close(self, error: BaseException | None = None) -> None:
        self._closed = True
        try:
            self._hang_up()
        finally:
            if self._begun and self._effort.watch is not None:
                tell(self._effort.watch.ended(error))

    def _read_all(self) -> Assembly:
        for _ in self:
            pass
        return whole(self._outcome, self._answer)

    def _open(self) -> None:
        if self._begun or self._closed:
            return
        self._effort = Effort(self._config, self._call, time.monotonic)
        try:
            self._send(self._call, self._begin, self._effort)
        except BaseException as error:
            self.close()
            if isinstance(error, MistralException):
                self._outcome = error.again()
            raise
        self._begun = True

    def _begin(self, response: httpx.Response) -> Response:
        """Read until the answer begins: until then, all may be tried again."""
        if not opens_stream(self._call, response):
            return received(response, self._config.limits)
        self._response = response
        self._bytes = raw(response)
        try:
            self._start(response)
            ready: list[AnswerT] = []
            while not self._decoder.answer.begun and self._read():
                ready += self._until_begun()
            self._chunks = chain(ready, self._chunks)
        except BaseException:
            self._hang_up()
            raise
        return response

    def _read(self) -> bool:
        """Read on; whether there was more to read."""
        if self._decoder.done:
            self._read_on()
            return False
        self._listen(cast("httpx.Response", self._response))
        data = broken = None
        try:
            data = next(self._bytes, None)
        except FAILURES as error:
            broken = failure(error, self._config)
        return self._take(data, broken)

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()

    def _read_on(self) -> None:
        with suppress(*FAILURES), hangup(cast("httpx.Response", self._response)):
            for _ in self._bytes:
                pass


class ParsedChatStream(ChatStream[ChatCompletionStreamResponse], Generic[ParsedT]):
    """A stream whose answer is read into a type. It is iterated for its chunks, or by `partials` for its value."""

    _form: Form[ParsedT]

    def partials(self) -> Iterator[Any]:
        """The value as it grows, with each chunk that adds to it: plain JSON values, not checked, the last one whole.

        A text or a number that is still coming is given as far as it has come.
        """
        growth = self._form.growth()
        for _ in self:
            yield from growth.of(self._answer.text if self._answer else "")

    def final_response(self) -> ParsedChatCompletionResponse[ParsedT]:
        """The answer put together from its chunks, and its value. Reads what is left.

        Raises what the stream raised, or `ResponseParsingError` for an answer that is not of the type.
        """
        return self._form.parsed(super().final_response())


def __getattr__(name: str) -> Any:
    if name == "Mistral":  # where later clients have it
        return import_module(".modern", __package__).Mistral
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_MAX_CONNECTIONS = 100
_WORKER = threading.local()  # `given_up`, in threads that follow flows: set when they are to begin nothing more
_DROPPED = "a ChatStream was dropped before its end: read it, use it in a `with` block, or close it"
_random = SystemRandom().random  # of the system: whoever seeds Python's would send the same Idempotency-Key again
