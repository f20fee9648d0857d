"""Answers as values of a Python type: what is asked for, and how an answer is read. Performs no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, cast

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import from_json

from . import _calls
from ._assembly import text_of
from ._calls import ChatOptions, ParsedT, validation_message
from ._flow import Flow, summed
from ._json_schema import schema_of
from .exceptions import ArgumentError, ResponseParsingError
from .models.chat_completion import ChatCompletionResponse, ChatMessage, FinishReason, Role
from .models.common import UsageInfo


class ParsedChatCompletionResponse(ChatCompletionResponse, Generic[ParsedT]):
    """A whole answer, and the value of the type that was asked for.

    parsed: read from the first choice, whose message has it as well. It is no part of the wire, and left out where the
        answer is dumped.
    usage: of all requests that it took.
    """

    parsed: ParsedT = Field(exclude=True)


def asking(
    messages: object, model: object, response_model: Any, max_reasks: int, options: ChatOptions
) -> Flow[ParsedChatCompletionResponse[Any]]:
    """An answer that is of the type, asked for again where it is not."""
    if response_model is None:
        raise ArgumentError("max_reasks: there is no response_model")
    if max_reasks < 0:
        raise ArgumentError(f"max_reasks: {max_reasks!r} is less than 0")
    form = form_of(response_model)
    asked = form.asked(options)
    messages, model = _calls.ordered(messages, model)
    usage = None
    while True:
        response = yield _calls.chat(messages, model, asked)
        usage = summed(usage, response.usage)
        try:
            return form.parsed(response, usage)
        except ResponseParsingError as error:
            if not max_reasks:
                raise
            max_reasks -= 1
            messages = [*cast("list[Any]", messages), *form.reask(error)]


@dataclass(frozen=True, slots=True)
class Form(Generic[ParsedT]):
    """What is asked for.

    wrapper: with a field `value` of the type, where the type's JSON is no object: servers insist on one.
    """

    name: str
    adapter: TypeAdapter[ParsedT]
    wrapper: type[BaseModel] | None
    schema: Mapping[str, Any]

    def asked(self, options: ChatOptions) -> ChatOptions:
        """The options with the format of the answer. Raises `ArgumentError` for those that do not go with it."""
        for name in ("response_format", "tools"):
            if options.get(name) is not None:
                raise ArgumentError(f"{name}: the answer has one form, that of response_model")
        schema = {"name": self.name, "schema": self.schema, "strict": True}
        return {**options, "response_format": {"type": "json_schema", "json_schema": schema}}

    def parsed(
        self, response: ChatCompletionResponse, usage: UsageInfo | None = None
    ) -> ParsedChatCompletionResponse[ParsedT]:
        """The answer with its value. Raises `ResponseParsingError`."""
        usage = usage or response.usage
        choice = next((choice for choice in response.choices if choice.index == 0), None)
        text = text_of(choice.message.content) if choice else ""
        reason = choice and choice.finish_reason
        try:
            if not text.strip():
                refusal = _refusal(choice.message if choice else None)
                text = refusal or text
                raise _NoValue("the model refused" if refusal else "the answer has no text")
            value = self._value(text, cut=reason in _CUT)
        except _NoValue as error:
            failure = ResponseParsingError(str(error))
            raise failure.with_answer(text, None if reason is None else str(reason), usage.model_dump()) from None
        cast("Any", choice).message.parsed = value
        fields = {name: getattr(response, name) for name in response.model_fields_set}
        return ParsedChatCompletionResponse(**fields | {"usage": usage}, parsed=value)

    def reask(self, error: ResponseParsingError) -> list[ChatMessage]:
        """What is said to the model after an answer that is not of the type."""
        wrong = f"This is not the answer that was asked for: {error.message}. "
        schema = json.dumps(self.schema, ensure_ascii=False)
        wanted = f"Give the whole answer again, as JSON that follows this schema, and nothing else: {schema}"
        answer = [ChatMessage(role=Role.assistant, content=error.text)] if error.text else []
        return [*answer, ChatMessage(role=Role.user, content=wrong + wanted)]

    def growth(self) -> Growth:
        """Of one answer, from its beginning."""
        return Growth(wrapped=self.wrapper is not None)

    def _value(self, text: str, *, cut: bool) -> ParsedT:
        """The one value of the type in a text. Raises `_NoValue`."""
        documents = _documents(text)
        if cut:
            # A number or a word may be the beginning of another one.
            documents = [document for document in documents if _OPENING.match(document)]
        if not documents:
            raise _NoValue(
                "the answer was cut, at its greatest length, before its JSON was whole"
                if cut
                else "the answer holds no whole JSON document"
            )
        values: list[ParsedT] = []
        for document in documents:
            try:
                values.append(self._read(document))
            except ValidationError as error:
                wrong = validation_message(error)
        if not values:
            several = f"none of {len(documents)} JSON documents fits, and of the last: " if len(documents) > 1 else ""
            raise _NoValue(several + wrong)
        if any(value != values[0] for value in values[1:]):
            raise _NoValue(f"the answer holds {len(values)} values of the type")
        return values[0]

    def _read(self, document: str) -> ParsedT:
        if self.wrapper is None:
            return self.adapter.validate_json(document)
        value = from_json(document)
        if isinstance(value, dict) and "value" in value:
            return cast("ParsedT", self.wrapper.model_validate_json(document).value)  # type: ignore[attr-defined]
        # A server that does not hold its model to the schema tells the model nothing of the wrapper.
        return self.adapter.validate_json(document)


class Growth:
    """The value of an answer that is still coming."""

    def __init__(self, *, wrapped: bool) -> None:
        self._wrapped = wrapped
        self._last: Any = _NOTHING

    def of(self, text: str) -> Iterator[Any]:
        """The JSON in as much of the answer as there is, where it is more than the last time."""
        begin = _OPENING.search(text)
        if begin is None:
            return
        try:
            value = from_json(text[begin.start() :].encode(), allow_partial="trailing-strings")
        except ValueError:
            return
        if self._wrapped:
            value = value.get("value", _NOTHING) if isinstance(value, dict) else _NOTHING
        if value is not _NOTHING and value != self._last:
            self._last = value
            yield value


def form_of(response_model: Any) -> Form[Any]:
    """What to ask for to get a value of this type. Raises `ArgumentError` for one that JSON has no words for."""
    try:
        return _kept_form(response_model)
    except TypeError:  # it has no hash
        return _form(response_model)


class _NoValue(Exception):
    """Why there is no value in an answer."""


def _form(response_model: Any) -> Form[Any]:
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", getattr(response_model, "__name__", "answer"))[:64]
    wrapper = None
    try:
        adapter = TypeAdapter(response_model)
        schema = schema_of(adapter, all_required=True)
        if schema.get("type") != "object":
            wrapper = create_model(name, value=(response_model, ...))
            schema = schema_of(TypeAdapter(wrapper), all_required=True)
    except (PydanticUndefinedAnnotation, PydanticUserError, ValueError) as error:
        raise ArgumentError(f"response_model: {error}") from None
    return Form(name, adapter, wrapper, schema)


_kept_form = lru_cache(maxsize=64)(_form)


def _refusal(message: ChatMessage | None) -> str:
    """In what words the model refused, on servers that say so."""
    refusal = (message.model_extra or {}).get("refusal") if message else None
    return refusal if isinstance(refusal, str) else ""


def _documents(text: str) -> list[str]:
    """The JSON documents in a text: all of it, or the objects and arrays that stand in other text or in fences."""
    text = text.strip()
    fenced = _FENCED.fullmatch(text)
    if fenced:
        text = fenced[1].strip()
    if _is_json(text):
        return [text]
    found: list[str] = []
    at = 0
    while begin := _OPENING.search(text, at):
        try:
            _, at = _DECODER.raw_decode(text, begin.start())
            found += filter(_is_json, [text[begin.start() : at]])
        except json.JSONDecodeError as error:
            # What stood before the error is part of something broken, and what is cut has no end to go on from.
            if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
                break
            at = max(error.pos, begin.end())
        except RecursionError:
            break
    return found


def _is_json(text: str) -> bool:
    try:
        from_json(text.encode("utf-8", "replace"))
    except ValueError:
        return False
    return True


_NOTHING = object()
_CUT = {FinishReason.length, FinishReason.model_length}
_DECODER = json.JSONDecoder()
_OPENING = re.compile(r"[\[{]")
_FENCED = re.compile(r"```[\w-]*\n(.*)```", re.DOTALL)
