"""One API call as a value: the request that it makes and the type of its answer. Performs no I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from ._headers import flaw, merged
from .exceptions import ArgumentError
from .models.chat_completion import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
    ChatMessage,
    NamedToolChoice,
    Prediction,
    ResponseFormat,
    Tool,
)
from .models.embeddings import EmbeddingRequest, EmbeddingResponse
from .models.fim import FIMCompletionRequest
from .models.models import ModelCard, ModelDeleted, ModelList

AnswerT = TypeVar("AnswerT", bound=BaseModel)

Messages = Iterable[ChatMessage | Mapping[str, Any]]


class CallOptions(TypedDict, total=False):
    """What every method takes by keyword, for one call.

    timeout, deadline: seconds, in place of the client's. max_retries: likewise.
    extra_headers: sent beside the client's own.
    extra_body: fields that another server wants, put into the body unchecked.
    """

    timeout: float | None
    deadline: float | None
    max_retries: int | None
    extra_headers: Mapping[str, str] | None
    extra_body: Mapping[str, Any] | None


class ChatOptions(CallOptions, total=False):
    """What `chat` and `chat_stream` take by keyword; `ChatCompletionRequest` says what each means."""

    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    min_tokens: int | None
    stop: str | list[str] | None
    random_seed: int | None
    response_format: ResponseFormat | Mapping[str, Any] | None
    tools: list[Tool] | list[dict[str, Any]] | None
    tool_choice: Literal["auto", "none", "any", "required"] | NamedToolChoice | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repetition_penalty: float | None
    top_k: int | None
    n: int | None
    logprobs: bool | None
    top_logprobs: int | None
    prompt_logprobs: bool | None
    prediction: Prediction | Mapping[str, Any] | None
    prompt_mode: str | None
    reasoning_effort: str | None
    safe_prompt: bool | None
    safe_mode: bool | None  # the first name of safe_prompt
    prompt_cache_key: str | None
    guardrails: list[dict[str, Any]] | None
    service_tier: str | None
    metadata: Mapping[str, Any] | None


class EmbeddingOptions(CallOptions, total=False):
    """What `embeddings` takes by keyword; `EmbeddingRequest` says what each means."""

    output_dimension: int | None
    output_dtype: Literal["float", "int8", "uint8", "binary", "ubinary"] | None
    encoding_format: Literal["float", "base64"] | None
    metadata: Mapping[str, Any] | None


class FIMOptions(CallOptions, total=False):
    """What `completion` and `completion_stream` take by keyword; `FIMCompletionRequest` says what each means."""

    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    min_tokens: int | None
    stop: str | list[str] | None
    random_seed: int | None
    prompt_cache_key: str | None
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request but for what the client adds: the server's address and the key.

    until: when the whole call must be over, in seconds on the clock of its exchange.
    """

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class Call(Generic[AnswerT]):
    """answer: the type of the answer, or of its chunks where `streamed`.
    timeout, deadline, max_retries: of this call alone; None for the client's.
    """

    method: str
    path: str
    answer: type[AnswerT]
    body: bytes | None = field(default=None, repr=False)
    streamed: bool = False
    timeout: float | None = None
    deadline: float | None = None
    max_retries: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def request(
        self, idempotency_key: str, until: float = math.inf, client_headers: Mapping[str, str] | None = None
    ) -> Request:
        """The request of one attempt; every attempt's is the same.

        client_headers: those of every call; the call's own go before them.
        """
        # A stream that is compressed arrives in lumps.
        headers = (
            {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
            if self.streamed
            else {"Accept": "application/json", "Accept-Encoding": "gzip"}
        )
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        if self.method != "GET":
            headers["Idempotency-Key"] = idempotency_key
        headers = merged(merged(headers, client_headers or {}), self.headers)
        return Request(self.method, self.path, headers, self.body, until)


def list_models(options: CallOptions) -> Call[ModelList]:
    """`GET /v1/models`"""
    return _without_body(Call("GET", "/v1/models", ModelList), options)


def retrieve_model(model_id: str, options: CallOptions) -> Call[ModelCard]:
    """`GET /v1/models/{id}`"""
    return _without_body(Call("GET", _model_path(model_id), ModelCard), options)


def delete_model(model_id: str, options: CallOptions) -> Call[ModelDeleted]:
    """`DELETE /v1/models/{id}`"""
    return _without_body(Call("DELETE", _model_path(model_id), ModelDeleted), options)


def chat(messages: object, model: object, options: ChatOptions) -> Call[ChatCompletionResponse]:
    """`POST /v1/chat/completions`"""
    request = _chat_request(messages, model, options, stream=False)
    return _with_options(Call("POST", "/v1/chat/completions", ChatCompletionResponse, request), options)


def chat_stream(messages: object, model: object, options: ChatOptions) -> Call[ChatCompletionStreamResponse]:
    """The same, answered in chunks."""
    request = _chat_request(messages, model, options, stream=True)
    call = Call("POST", "/v1/chat/completions", ChatCompletionStreamResponse, request, streamed=True)
    return _with_options(call, options)


def embeddings(model: str, input: str | Iterable[str], options: EmbeddingOptions) -> Call[EmbeddingResponse]:
    """`POST /v1/embeddings`"""
    texts = input if isinstance(input, str) or not isinstance(input, Iterable) else list(input)
    request = _body(EmbeddingRequest, {"model": model, "input": texts}, options)
    return _with_options(Call("POST", "/v1/embeddings", EmbeddingResponse, request), options)


def completion(model: str, prompt: str, suffix: str | None, options: FIMOptions) -> Call[ChatCompletionResponse]:
    """`POST /v1/fim/completions`"""
    request = _fim_request(model, prompt, suffix, options, stream=False)
    return _with_options(Call("POST", "/v1/fim/completions", ChatCompletionResponse, request), options)


def completion_stream(
    model: str, prompt: str, suffix: str | None, options: FIMOptions
) -> Call[ChatCompletionStreamResponse]:
    """The same, answered in chunks."""
    request = _fim_request(model, prompt, suffix, options, stream=True)
    call = Call("POST", "/v1/fim/completions", ChatCompletionStreamResponse, request, streamed=True)
    return _with_options(call, options)


def _model_path(model_id: object) -> str:
    """The path of a model, whatever its name holds: `/`, `..` and `?` are part of the name."""
    if not isinstance(model_id, str) or not model_id:
        raise ArgumentError(f"model_id: {model_id!r} is no name of a model")
    try:
        # Dots are not quoted by themselves, and a name of dots alone would lead to another path.
        return "/v1/models/" + quote(model_id, safe="").replace(".", "%2E" if not model_id.strip(".") else ".")
    except UnicodeEncodeError as error:
        raise ArgumentError(f"model_id: {error}") from None


def _fim_request(model: str, prompt: str, suffix: str | None, options: FIMOptions, *, stream: bool) -> bytes:
    if "stream" in options:
        raise ArgumentError("stream: call completion_stream for an answer in chunks")
    own = {"model": model, "prompt": prompt, "suffix": suffix, "stream": stream or None}
    return _body(FIMCompletionRequest, own, options)


def _chat_request(messages: object, model: object, options: ChatOptions, *, stream: bool) -> bytes:
    if isinstance(messages, str):
        # The order of 0.0.x: the model came first.
        messages, model = model, messages
    fields = dict(options)
    if "stream" in fields:
        raise ArgumentError("stream: call chat_stream for an answer in chunks")
    if fields.pop("safe_mode", False):
        fields["safe_prompt"] = True
    if isinstance(messages, Iterable) and not isinstance(messages, list | str | Mapping):
        messages = list(messages)
    return _body(ChatCompletionRequest, {"model": model, "messages": messages, "stream": stream or None}, fields)


def _without_body(call: Call[AnswerT], options: CallOptions) -> Call[AnswerT]:
    if options.get("extra_body"):
        raise ArgumentError(f"extra_body: a {call.method} request has no body")
    return _with_options(call, options)


def _with_options(call: Call[AnswerT], options: CallOptions) -> Call[AnswerT]:
    timeout = _seconds("timeout", options.get("timeout"))
    deadline = _seconds("deadline", options.get("deadline"))
    max_retries = options.get("max_retries")
    if max_retries is not None and max_retries < 0:
        raise ArgumentError(f"max_retries: {max_retries!r} is less than 0")
    headers = options.get("extra_headers") or {}
    wrong = flaw(headers)
    if wrong is not None:
        raise ArgumentError(f"extra_headers: {wrong}")
    return replace(call, timeout=timeout, deadline=deadline, max_retries=max_retries, headers=headers)


def _seconds(name: str, value: float | None) -> float | None:
    """The value, if it can be a length of time. Raises `ArgumentError` with the argument's name."""
    if value is not None and not value > 0:
        raise ArgumentError(f"{name}: {value!r} is not a number of seconds above 0")
    return value


def _body(kind: type[BaseModel], own: Mapping[str, object], options: Mapping[str, Any]) -> bytes:
    """The JSON of a request of this kind. Raises `ArgumentError` before anything is sent."""
    given = {**own, **options}
    extra = given.pop("extra_body", None)
    fields = {name: value for name, value in given.items() if value is not None and name not in _CALL_OPTIONS}
    try:
        # What was left unset stays at home, what was set to null goes along: both mean something to the server.
        text = kind.model_validate(fields).model_dump_json(exclude_unset=True, by_alias=True)
        if extra:
            text = json.dumps({**json.loads(text), **extra}, ensure_ascii=False, allow_nan=False)
        return text.encode()
    except ValidationError as error:
        raise ArgumentError(validation_message(error)) from None
    except (PydanticSerializationError, UnicodeEncodeError, TypeError, ValueError) as error:
        raise ArgumentError(f"the arguments cannot be written as JSON: {error}") from None


def validation_message(error: ValidationError) -> str:
    """What is wrong and where, without the values: they may be somebody's prompt."""
    issues = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [_issue(issue["loc"], issue["msg"]) for issue in issues[:_SHOWN]]
    return "; ".join(lines) + (f"; and {len(issues) - _SHOWN} more" if len(issues) > _SHOWN else "")


def _issue(where: tuple[str | int, ...], message: str) -> str:
    # Steps such as "list[tagged-union[...]]" name a member of a union, which is no place in the request.
    steps = ".".join(str(step) for step in where if "[" not in str(step))
    return ": ".join(filter(None, [steps, message.removeprefix("Value error, ")]))


_SHOWN = 8
_CALL_OPTIONS = CallOptions.__optional_keys__
