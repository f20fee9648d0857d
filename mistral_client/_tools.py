"""Python functions as tools: their description, and the conversation in which a model calls them. Performs no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, getdoc, iscoroutinefunction, signature
from typing import Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import PydanticSerializationError, from_json, to_json

from . import _calls
from ._assembly import text_of
from ._calls import AnswerOptions, validation_message
from ._docstring import described
from ._flow import Flow, Run, summed
from ._json_schema import schema_of
from .exceptions import ArgumentError, TooManyToolSteps
from .models.chat_completion import ChatCompletionResponse, ChatMessage, Function, Role, Tool, ToolCall
from .models.common import UsageInfo


@dataclass(frozen=True, slots=True)
class ToolStep:
    """One answer of the model, and what its calls came to.

    number: from 1. results: the tools' messages, in the order of the calls; none where the answer calls no tool.
    """

    number: int
    response: ChatCompletionResponse
    results: tuple[ChatMessage, ...]


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A conversation in which a model called tools.

    response: the last answer. messages: the whole conversation, with the last answer. usage: of all requests.
    """

    response: ChatCompletionResponse
    messages: list[ChatMessage]
    usage: UsageInfo


def tool_of(function: Callable[..., Any]) -> Tool:
    """A function as a tool: its name, and what its signature and its docstring say.

    The docstring describes the tool, and its parameters in lines `name: meaning` or as Google, NumPy and Sphinx have
    it. `Annotated[..., Field(description="...")]` describes a parameter too. Types are those that pydantic knows.

    Raises `ArgumentError` for a function that a model cannot call, such as one with `*args`.
    """
    return _Callable(function).tool


def running(
    messages: object,
    model: object,
    offered: Mapping[str, _Callable],
    options: AnswerOptions,
    *,
    max_steps: int,
    on_step: Callable[[ToolStep], Any] | None,
    raise_errors: bool,
) -> Flow[ToolRun]:
    """The conversation, until an answer calls no tool."""
    if max_steps < 1:
        raise ArgumentError(f"max_steps: {max_steps!r} is less than 1")
    if (options.get("n") or 1) > 1:
        raise ArgumentError("n: there can be one answer to go on from")
    asked = {**options, "tools": [each.tool for each in offered.values()]}
    conversation: Any
    conversation, model = _calls.ordered(messages, model)
    usage: UsageInfo | None = None
    for number in range(1, max_steps + 1):
        response = yield _calls.chat(conversation, model, asked)  # type: ignore[arg-type]  # ChatOptions
        usage = summed(usage, response.usage)
        said = [choice.message for choice in response.choices[:1]]
        results = []
        for call in (call for message in said for call in message.tool_calls or ()):
            content = yield from _result(call, offered, raise_errors=raise_errors)
            results.append(ChatMessage(role=Role.tool, name=call.function.name, content=content, tool_call_id=call.id))
        conversation = [*conversation, *said, *results]
        if on_step is not None:
            yield Run(partial(on_step, ToolStep(number, response, tuple(results))), {})
        if not results:
            return ToolRun(response, [ChatMessage.model_validate(one) for one in conversation], usage)
        if asked.get("tool_choice") not in (None, "auto", "none"):
            # It has called one; who must always call comes to no answer.
            asked["tool_choice"] = "auto"
    raise _unfinished(f"the model still calls tools after {max_steps} steps", response, conversation, usage)


class _Callable:
    """A function, and how a model calls it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", "")
        if not _NAME.fullmatch(self.name):
            # The function itself is not shown: what is bound to a `partial` may be a secret.
            raise ArgumentError(f"tools: a {type(function).__name__} needs a name of letters, digits, _ and -")
        self.asynchronous = iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
        try:
            parameters = [*signature(function, eval_str=True).parameters.values()]
        except Exception as error:  # noqa: BLE001  # an annotation can raise anything
            raise ArgumentError(f"tools: the signature of {self.name} cannot be read: {error}") from None
        for parameter in parameters:
            if parameter.kind not in _BY_NAME:
                raise ArgumentError(f"tools: a model cannot give {self.name} its {parameter}, only arguments by name")
        self._names = {f"argument_{place}": parameter.name for place, parameter in enumerate(parameters)}
        try:
            self._arguments = create_model(
                self.name,
                __config__=ConfigDict(extra="forbid"),
                **{field: _field(parameter) for field, parameter in zip(self._names, parameters, strict=True)},  # type: ignore[call-overload]
            )
            schema = schema_of(TypeAdapter(self._arguments))
        except (PydanticUndefinedAnnotation, PydanticUserError, ValueError) as error:
            raise ArgumentError(f"tools: {self.name}: {error}") from None
        description, meanings = described(getdoc(function) or "", {parameter.name for parameter in parameters})
        for parameter in parameters:
            about = schema["properties"][parameter.name]
            if parameter.name in meanings:
                about.setdefault("description", meanings[parameter.name])
            if (default := _as_json(parameter.default)) is not Parameter.empty:
                about["default"] = default
        about_it = {"description": description} if description else {}
        self.tool = Tool(function=Function(name=self.name, parameters=schema, **about_it))

    def arguments(self, given: str | Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that a model gave, by name. Raises `ValidationError`."""
        text = given if isinstance(given, str) else to_json(given)
        read = self._arguments.model_validate_json(text or "{}")
        return {self._names[field]: getattr(read, field) for field in read.model_fields_set}


def offered(tools: Iterable[Callable[..., Any]], *, asynchronous: bool) -> dict[str, _Callable]:
    """The functions by their names. `asynchronous`: those that are can be run. Raises `ArgumentError`."""
    found: dict[str, _Callable] = {}
    for function in tools:
        if not callable(function):
            raise ArgumentError(f"tools: a {type(function).__name__} is no function that could be run")
        each = _Callable(function)
        if each.name in found:
            raise ArgumentError(f"tools: two functions have the name {each.name}")
        if each.asynchronous and not asynchronous:
            raise ArgumentError(f"tools: {each.name} is asynchronous, and needs a MistralAsyncClient")
        found[each.name] = each
    if not found:
        raise ArgumentError("tools: there is no function to call")
    return found


def _result(call: ToolCall, offered: Mapping[str, _Callable], *, raise_errors: bool) -> Flow[str]:
    """What the model is told of its call."""
    tool = offered.get(call.function.name)
    if tool is None:
        return f"Error: there is no tool {call.function.name}, only {', '.join(offered)}"
    try:
        arguments = tool.arguments(call.function.arguments)
    except ValidationError as error:
        return f"Error: the arguments are wrong: {validation_message(error)}"
    try:
        result = yield Run(tool.function, arguments)
    except Exception as error:  # whatever a tool raises, the model may know better
        if raise_errors:
            raise
        return f"Error: {type(error).__name__}: {error}"
    if isinstance(result, str):
        return result
    try:
        return to_json(result).decode()
    except PydanticSerializationError as error:
        raise ArgumentError(f"tools: what {tool.name} returns cannot be written as JSON: {error}") from None


def _unfinished(
    what: str, response: ChatCompletionResponse, conversation: Iterable[Any], usage: UsageInfo | None
) -> TooManyToolSteps:
    error = TooManyToolSteps(what)
    messages = [ChatMessage.model_validate(one) for one in conversation]
    error.messages = tuple(one.model_dump(mode="json", exclude_unset=True, by_alias=True) for one in messages)
    answer = response.choices[0]
    reason = None if answer.finish_reason is None else str(answer.finish_reason)
    return error.with_answer(text_of(answer.message.content), reason, None if usage is None else usage.model_dump())


def _field(parameter: Parameter) -> tuple[Any, Any]:
    """Annotation and default of a field, as pydantic wants them. The function has its own defaults."""
    kind = Any if parameter.annotation is Parameter.empty else parameter.annotation
    if parameter.default is Parameter.empty:
        return kind, Field(alias=parameter.name)
    return kind, Field(alias=parameter.name, default_factory=lambda: None)


def _as_json(default: Any) -> Any:
    """A default as it is in JSON; where it cannot be, as if there were none."""
    try:
        return from_json(to_json(default), allow_inf_nan=False)
    except ValueError:
        return Parameter.empty


_BY_NAME = {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
