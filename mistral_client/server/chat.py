"""Chat on both sides of the engine: a request as a prompt and samplings, generations as the wire's answer."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Container, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pydantic_core import to_json

from mistral_client._sse import encode_event
from mistral_client.models.chat_completion import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionResponseChoice,
    ChatMessage,
    DeltaMessage,
    FinishReason,
    Logprobs,
    NamedToolChoice,
    ResponseFormat,
    ResponseFormats,
    Role,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolChoice,
)
from mistral_client.models.common import UsageInfo

from . import engine, errors, grammar
from .calls import AnswerReader
from .conversation import check_function_name, turns_of
from .engine import EngineError, Generation, Part, Piece, Sampling
from .envelope import Envelope, event_of
from .errors import WireError
from .generation import Event
from .prompt import PromptFormat, ToolSpec, Turn

SAFE_PROMPT = (
    "Always assist with care, respect, and truth. Respond with utmost utility yet securely. Avoid harmful, unethical, "
    "prejudiced, or negative content. Ensure replies promote fairness and positivity."
)
"""What `safe_prompt` puts in front, in the API's own words."""

# A value that asks for nothing is no reason to refuse.
_ASKS_NOTHING: dict[str, tuple[object, ...]] = {
    "min_tokens": (0,),
    "prompt_logprobs": (False,),
    "top_prompt_logprobs": (0,),
    "prediction": (),
    "prompt_mode": (),
    "reasoning_effort": ("none",),
    "guardrails": ([],),
    "service_tier": ("auto", "default", "standard_only"),
}

_SAMPLED = (
    "temperature",
    "top_p",
    "top_k",
    "random_seed",
    "max_tokens",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)
"""Fields that the engine takes as they are."""

_KEEP_ALIVE = 1.0
"""Seconds without an event after which a stream says that it lives, as soon as the engine says so."""

_TEXT = "\0"
"""In the place of a text."""

_STILL_WORKING = b": still working\n\n"
"""A comment, to which clients pay no attention."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A chat request, ready for the engine."""

    parts: list[Part]
    samplings: list[Sampling]
    """One for each answer that is wanted."""
    prefix: str
    """What the answer begins with, because the request says so."""
    calls_mark: str | None
    """With what an answer begins that calls tools; None where no call can come."""


def asked(request: ChatCompletionRequest, format: PromptFormat, max_tokens: int | None) -> Asked:
    """What the engine has to do; `max_tokens` is for a request that names none.

    Raises `WireError` or `UnsupportedError` for what this server cannot do.
    """
    check_asked(request)
    turns = turns_of(request.messages)
    if request.safe_prompt:
        turns.insert(0, Turn("system", SAFE_PROMPT))
    tools = offered_tools(request)
    given = {name: getattr(request, name) for name in _SAMPLED if getattr(request, name) is not None}
    given.setdefault("max_tokens", max_tokens)
    stop = request.stop or []
    sampling = Sampling(
        **given,
        stop=tuple(text for text in ([stop] if isinstance(stop, str) else stop) if text),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        grammar=_calls_grammar(request, tools, format.calls_mark) if tools else _format_grammar(request),
        shown=(format.calls_mark,) if tools else (),
    )
    return Asked(
        format.parts(
            turns,
            [ToolSpec(tool.function.name, tool.function.description or "", tool.function.parameters) for tool in tools],
        ),
        [_varied(sampling, number) for number in range(request.n or 1)],
        turns[-1].text if turns[-1].prefix else "",
        format.calls_mark if tools else None,
    )


def check_asked(request: ChatCompletionRequest, allowed: Container[str] = ()) -> None:
    """Raises `WireError` for fields of the API that ask for what no server here can do; `allowed` are those it can."""
    for name, harmless in _ASKS_NOTHING.items():
        value = getattr(request, name)
        if value is not None and value not in harmless and name not in allowed:
            raise errors.not_supported(name, f"{name}={value}" if isinstance(value, int | float | str) else name)
    if request.top_logprobs and not request.logprobs:
        raise errors.invalid_args("top_logprobs", "top_logprobs asks for logprobs to be true")


def _varied(sampling: Sampling, number: int) -> Sampling:
    """The n-th answer to one request: with a seed, each has its own."""
    seed = sampling.random_seed
    return sampling if seed is None else replace(sampling, random_seed=seed + number)


def offered_tools(request: ChatCompletionRequest) -> list[Tool]:
    """The tools that the model may call. Raises `WireError` where they, or the choice among them, cannot be."""
    tools, choice = request.tools or [], request.tool_choice
    names = [tool.function.name for tool in tools]
    for name in names:
        check_function_name(name)
    if len(set(names)) != len(names):
        raise errors.invalid_args("tools", "tools: two functions have the same name")
    if isinstance(choice, NamedToolChoice):
        tools = [tool for tool in tools if tool.function.name == choice.function.name]
        if not tools:
            raise errors.invalid_args("tool_choice", f"tool_choice: no tool is called {choice.function.name!r}")
    elif choice in {ToolChoice.any, ToolChoice.required} and not tools:
        raise errors.invalid_args("tool_choice", f"tool_choice={choice.value} needs tools")
    return [] if choice == ToolChoice.none else tools


def _calls_grammar(request: ChatCompletionRequest, tools: Sequence[Tool], mark: str) -> str:
    required = request.tool_choice is not None and request.tool_choice != ToolChoice.auto
    if not required and _format_grammar(request) is not None:
        raise errors.invalid_args(
            "response_format",
            "response_format: beside tools that the model may or may not call, the answer can only be text",
        )
    if request.messages[-1].prefix:
        raise errors.invalid_args("tools", "tools: an answer that goes on from a prefix cannot call them")
    return grammar.of_calls(
        [(tool.function.name, tool.function.parameters) for tool in tools],
        mark=mark,
        required=required,
        parallel=request.parallel_tool_calls is not False,
    )


def _format_grammar(request: ChatCompletionRequest) -> str | None:
    wanted: ResponseFormat | None = request.response_format
    if wanted is None or wanted.type == ResponseFormats.text:
        return None
    return grammar.of_schema(wanted.json_schema.schema_definition) if wanted.json_schema else grammar.ANY_OBJECT


class Answer:
    """Words the generations of one request for the wire, whole or in events. `model` is the name that was asked for."""

    def __init__(self, model: str, asked: Asked) -> None:
        self.failed = False
        """An event has said what went wrong."""
        self._envelope = Envelope(model)
        self._choices = [
            _Choice(AnswerReader(asked.calls_mark), asked.prefix, with_logprobs=sampling.logprobs is not None)
            for sampling in asked.samplings
        ]
        self._around: dict[int, tuple[bytes, bytes]] = {}

    async def whole(self, events: AsyncIterator[Event]) -> ChatCompletionResponse:
        """The answer in one piece."""
        running = len(self._choices)
        while running:
            index, item = await anext(events)
            self._choices[index].take(item)
            running -= isinstance(item, Generation)
        return self._envelope.whole([choice.whole(index) for index, choice in enumerate(self._choices)], self._usage())

    async def events(self, events: AsyncIterator[Event]) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events. What breaks once they flow becomes an error event, without `[DONE]`."""
        # The first event says that the engine has begun. What it refuses before that is no stream yet, but an error.
        index, item = await anext(events)
        for number, choice in enumerate(self._choices):
            yield event_of(self._envelope.chunk(number, DeltaMessage(role=Role.assistant, content="")))
            if choice.text:
                yield event_of(self._envelope.chunk(number, DeltaMessage(content=choice.text)))
        running = len(self._choices)
        shown = time.monotonic()
        while True:
            choice = self._choices[index]
            text = choice.take(item)
            event = None
            if choice.end is not None:
                running -= 1
                event = self._last_chunk(index, text)
            elif text:
                event = self._words(index, text, choice.logprobs())
            elif time.monotonic() - shown > _KEEP_ALIVE:
                event = _STILL_WORKING
            if event is not None:
                shown = time.monotonic()
                yield event
            if not running:
                break
            try:
                index, item = await anext(events)
            except (EngineError, WireError) as error:
                told = error if isinstance(error, WireError) else errors.of_engine(error)
                self.failed = True
                yield encode_event(told.json(), "error")
                return
        yield encode_event("[DONE]")

    def _words(self, index: int, text: str, logprobs: Logprobs | None) -> bytes:
        """A chunk of text. Most have nothing else that is new, so the bytes around it are kept."""
        if logprobs is not None:
            return event_of(self._envelope.chunk(index, DeltaMessage(content=text), logprobs))
        if index not in self._around:
            like_it = event_of(self._envelope.chunk(index, DeltaMessage(content=_TEXT)))
            head, _, tail = like_it.rpartition(to_json(_TEXT))
            self._around[index] = head, tail
        head, tail = self._around[index]
        return head + to_json(text) + tail

    def _last_chunk(self, index: int, text: str) -> bytes:
        choice = self._choices[index]
        delta = DeltaMessage(content=text)
        if choice.calls:
            delta.tool_calls = choice.calls
        usage = self._usage() if all(choice.end is not None for choice in self._choices) else None
        return event_of(self._envelope.chunk(index, delta, choice.logprobs(), choice.reason(), usage))

    def _usage(self) -> UsageInfo:
        ends = [choice.end for choice in self._choices if choice.end is not None]
        prompt, completion = ends[0].prompt_tokens, sum(end.completion_tokens for end in ends)
        return UsageInfo(prompt_tokens=prompt, total_tokens=prompt + completion, completion_tokens=completion)


class _Choice:
    """One of the answers to a request, as far as it has come."""

    def __init__(self, reader: AnswerReader, prefix: str, *, with_logprobs: bool) -> None:
        self.text = prefix
        self._with_logprobs = with_logprobs
        self.calls: list[ToolCall] = []
        self.end: Generation | None = None
        self._reader = reader
        self._tokens: list[engine.TokenLogprob] | None = None

    def take(self, item: Piece | Generation) -> str:
        """The text that this adds to the answer."""
        if isinstance(item, Piece):
            if item.tokens and self._with_logprobs:  # the inspector may have asked for them
                self._tokens = [*(self._tokens or ()), *item.tokens]
            text = self._reader.feed(item.text)
        else:
            text, self.calls = self._reader.end()
            self.end = item
        self.text += text
        return text

    def reason(self) -> FinishReason:
        return FinishReason.tool_calls if self.calls else FinishReason(cast("Generation", self.end).finish_reason)

    def logprobs(self) -> Logprobs | None:
        """Those of the tokens since it was last asked."""
        tokens, self._tokens = self._tokens, None
        return None if tokens is None else Logprobs(content=[_logprob(token) for token in tokens])

    def whole(self, index: int) -> ChatCompletionResponseChoice:
        message = ChatMessage(role=Role.assistant, content=self.text, tool_calls=self.calls or None)
        choice = ChatCompletionResponseChoice(index=index, finish_reason=self.reason(), message=message)
        logprobs = self.logprobs()
        if logprobs is not None:
            choice.logprobs = logprobs
        return choice


def _logprob(token: engine.TokenLogprob) -> TokenLogprob:
    return TokenLogprob(
        token=token.token,
        logprob=token.logprob,
        bytes=list(token.token.encode()),
        token_id=token.id,
        top_logprobs=[_logprob(other) for other in token.top],
    )
