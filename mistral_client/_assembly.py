"""The chunks of a stream put together: what has come of an answer, whole or not. Performs no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, TypeVar

from .exceptions import MistralException, StreamInterrupted
from .models.chat_completion import (
    ChatCompletionResponse,
    ChatCompletionResponseChoice,
    ChatMessage,
    Content,
    ContentChunk,
    DeltaMessage,
    FunctionCall,
    Logprobs,
    Role,
    TextChunk,
    ThinkingChunk,
    ToolCall,
)
from .models.common import UsageInfo, WireModel

ErrorT = TypeVar("ErrorT", bound=MistralException)


class AnswerGoesOn(ValueError):
    """A choice says something after its finish reason."""


class Assembly:
    """Takes the chunks of one stream. It only collects, as this is done for every chunk; `response` puts together.

    begun: the answer has begun: some of its text, a tool call or its end has come.
    usage: as soon as it came.
    """

    def __init__(self) -> None:
        self.begun = False
        self.usage: UsageInfo | None = None
        self._frame: Any = None
        self._choices: dict[int, _Choice] = {}
        self._extra: dict[str, Any] = {}

    def add(self, chunk: Any, unknown: Mapping[str, Any] | None) -> None:
        """Keep what a chunk brings. Raises `AnswerGoesOn`.

        unknown: its fields that nobody here knows.
        """
        # Past pydantic's `__getattr__`, with which each attribute takes a hundredth of all that a chunk takes.
        fields = chunk.__dict__
        if unknown:
            self._extra.update(unknown)
        if fields["usage"] is not None:
            self.usage = fields["usage"]
        for part in fields["choices"]:
            told = part.__dict__
            choice = self._choices.get(told["index"])
            if choice is None:
                choice = self._choices[told["index"]] = _Choice()
                self._frame = chunk
            delta = told["delta"]
            said = delta.__dict__
            content, reason = said["content"], told["finish_reason"]
            if content or reason is not None or said["tool_calls"]:
                self.begun = True
                if choice.finish_reason is not None:
                    raise AnswerGoesOn(f"choice {told['index']} goes on after its finish reason")
                choice.finish_reason = reason
            if content is not None:
                choice.contents.append(content)
            if told["logprobs"] is not None:
                choice.logprobs.append(told["logprobs"])
            # Most deltas hold a text and nothing else.
            if content is None or len(delta.__pydantic_fields_set__) > 1:
                choice.add(delta)
            if part.__pydantic_extra__:
                _collect(part.__pydantic_extra__, choice.extra)

    @property
    def finished(self) -> bool:
        """Every answer has its finish reason."""
        return bool(self._choices) and all(choice.finish_reason is not None for choice in self._choices.values())

    @property
    def text(self) -> str:
        """The text of the first answer."""
        return text_of(*self._choices[0].contents) if 0 in self._choices else ""

    def on(self, error: ErrorT) -> ErrorT:
        """The same error, with what has come."""
        first = [self._choices[0]] if 0 in self._choices else []
        reasons = (choice.finish_reason for choice in [*first, *self._choices.values()])
        reason = next((str(reason) for reason in reasons if reason is not None), None)
        return error.with_answer(self.text, reason, None if self.usage is None else self.usage.model_dump())

    def response(self) -> ChatCompletionResponse:
        """The answer as if it had come whole.

        Fields that nobody here knows: those of a chunk are as they came last; of a choice, lists are joined; of a
        delta, lists and texts are.
        """
        return ChatCompletionResponse(
            id=self._frame.id,
            object="chat.completion",
            created=self._frame.created or 0,
            model=self._frame.model,
            choices=[choice.whole(index) for index, choice in sorted(self._choices.items())],
            usage=self.usage or UsageInfo(prompt_tokens=0, total_tokens=0, completion_tokens=0),
            **self._extra,
        )


def whole(outcome: Assembly | MistralException | None, so_far: Assembly | None) -> Assembly:
    """What a stream has come to.

    Raises its failure once more, or `StreamInterrupted` where the stream was closed before its end.
    """
    if isinstance(outcome, MistralException):
        raise outcome.again()
    if outcome is None:
        closed = StreamInterrupted("the stream was closed before its end")
        raise so_far.on(closed) if so_far else closed
    return outcome


def text_of(*contents: Content | None) -> str:
    """The text in contents, without thoughts, images and the like."""
    texts: list[str] = []
    for content in contents:
        if isinstance(content, str):
            texts.append(content)
        else:
            texts += [chunk.text for chunk in content or () if isinstance(chunk, TextChunk)]
    return "".join(texts)


class _Choice:
    """What has come of one answer."""

    __slots__ = ("calls", "contents", "extra", "finish_reason", "logprobs", "message_extra", "role")

    def __init__(self) -> None:
        self.role: str | None = None
        self.contents: list[Content] = []
        self.calls: list[ToolCall] = []
        self.finish_reason: str | None = None
        self.logprobs: list[Logprobs] = []
        self.extra: dict[str, list[Any]] = {}
        self.message_extra: dict[str, list[Any]] = {}

    def add(self, delta: DeltaMessage) -> None:
        """Keep what is no content."""
        self.role = self.role or delta.role
        self.calls += delta.tool_calls or ()
        _collect(delta.model_extra or {}, self.message_extra)

    def whole(self, index: int) -> ChatCompletionResponseChoice:
        message = _unknown(self.message_extra, ChatMessage, str, list)
        message |= {"role": self.role or Role.assistant, "content": _content(self.contents)}
        if self.calls:
            message["tool_calls"] = _joined_calls(self.calls)
        choice = _unknown(self.extra, ChatCompletionResponseChoice, list)
        choice |= {"index": index, "finish_reason": self.finish_reason, "message": ChatMessage(**message)}
        if self.logprobs:
            tokens = [token for part in self.logprobs for token in part.content or ()]
            choice["logprobs"] = self.logprobs[-1].model_copy(update={"content": tokens})
        return ChatCompletionResponseChoice(**choice)


def _collect(extra: dict[str, Any], into: dict[str, list[Any]]) -> None:
    for name, value in extra.items():
        into.setdefault(name, []).append(value)


def _unknown(extra: dict[str, list[Any]], kind: type[WireModel], *pieces: type) -> dict[str, Any]:
    """Fields that nobody here knows: those whose values are `pieces` are joined, of others the last counts."""
    return {name: _last_or_joined(values, pieces) for name, values in extra.items() if name not in kind.model_fields}


def _last_or_joined(values: list[Any], pieces: tuple[type, ...]) -> Any:
    there = [value for value in values if value is not None]
    kinds = {type(value) for value in there}
    if len(kinds) == 1 and kinds <= set(pieces):
        return "".join(there) if kinds == {str} else [item for value in there for item in value]
    return there[-1] if there else None


def _content(parts: list[Content]) -> Content | None:
    """Contents as one: a text where all are, None where there is none."""
    if all(isinstance(part, str) for part in parts):
        return text_of(*parts) if parts else None
    chunks: list[Any] = []
    for part in parts:
        chunks += ([TextChunk(text=part)] if part else []) if isinstance(part, str) else part
    return [one for kind, run in groupby(chunks, type) for one in _joined_chunks(kind, [*run])]


def _joined_chunks(kind: type, run: list[Any]) -> list[ContentChunk]:
    """Chunks of one kind that follow each other: texts and thoughts are joined."""
    if kind is TextChunk:
        return [run[-1].model_copy(update={"text": "".join(chunk.text for chunk in run)})]
    if kind is ThinkingChunk:
        thoughts = _joined_thoughts([thought for chunk in run for thought in chunk.thinking])
        return [run[-1].model_copy(update={"thinking": thoughts})]
    return run


def _joined_thoughts(thoughts: list[Any]) -> list[Any]:
    def is_text(thought: Any) -> bool:
        return isinstance(thought, dict) and thought.keys() == {"type", "text"} and isinstance(thought["text"], str)

    joined: list[Any] = []
    for texts, run in groupby(thoughts, is_text):
        alike = [*run]
        joined += [{"type": "text", "text": "".join(thought["text"] for thought in alike)}] if texts else alike
    return joined


def _joined_calls(pieces: Iterable[ToolCall]) -> list[ToolCall]:
    """Calls from their pieces. Those of one call have the same `index`, but some servers send whole calls with none, or
    all with 0.
    """
    calls: list[_Call] = []
    at: dict[int | None, _Call] = {}
    for piece in pieces:
        call = at.get(piece.index)
        if call is None or call.ends_before(piece):
            call = at[piece.index] = _Call()
            calls.append(call)
        call.add(piece)
    return [call.whole() for call in calls]


class _Call:
    """One call, as far as it has come."""

    def __init__(self) -> None:
        self._pieces: list[ToolCall] = []
        self._id = ""
        self._name = ""

    def ends_before(self, piece: ToolCall) -> bool:
        """The piece is of another call."""
        given, name = _id(piece), piece.function.name
        if given and self._id:
            return given != self._id
        if piece.index is None:
            return bool(given or name)
        return bool(name) and name != self._name and any(each.function.arguments for each in self._pieces)

    def add(self, piece: ToolCall) -> None:
        self._pieces.append(piece)
        self._id = self._id or _id(piece)
        # Some servers repeat it with each piece.
        if piece.function.name != self._name:
            self._name += piece.function.name

    def whole(self) -> ToolCall:
        first, *more = self._pieces
        if not more:
            return first
        update = _merged(self._pieces)
        if self._id:
            update["id"] = self._id
        function = _merged(piece.function for piece in self._pieces)
        arguments = [piece.function.arguments for piece in self._pieces]
        objects = [one for one in arguments if not isinstance(one, str)]
        function |= {
            "name": self._name,
            "arguments": objects[-1] if objects else "".join(one for one in arguments if isinstance(one, str)),
        }
        return first.model_copy(update={**update, "function": FunctionCall(**function)})


def _id(piece: ToolCall) -> str:
    return piece.id if "id" in piece.model_fields_set and piece.id != "null" else ""


def _merged(pieces: Iterable[WireModel]) -> dict[str, Any]:
    """What nobody here knows in pieces, as it came last."""
    merged: dict[str, Any] = {}
    for piece in pieces:
        merged |= piece.model_extra or {}
    return merged
