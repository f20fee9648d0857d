"""The format that a model file's own chat template describes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from mistral_client.server.engine import Part, UnsupportedError

from .exchange import BETWEEN_MESSAGES, exchange, system_text
from .sandbox import MARK, Sandbox
from .told import told
from .tool_json import value
from .turns import CALLS_MARK, ToolSpec, Turn

_BEGINS = ("<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|endoftext|>")
_ENDS = ("</s>", "<|eot_id|>", "<eos>", "<|im_end|>", "<|end|>", "<|endoftext|>")
"""Usual names of the tokens that begin and end a text."""

_NAME = re.compile(r"(?=(<[^<>\s]{1,64}>|\[[^\[\]\s]{1,64}\]))")
"""What may be the name of a control token."""

_ANY_MARK = re.compile("[\ue000-\ue001]")

_SCHEMA_WORDS = (
    "type properties required description enum items anyOf oneOf allOf additionalProperties default title format "
    "minimum maximum minItems maxItems const string number integer boolean array object null function name "
    "parameters"
)
"""Texts in a tool that templates may look at: they are the language's own and nobody's text."""


class TemplateFormat:
    """The format that a model file's own chat template describes, run in a `Sandbox`.

    The template never sees what users wrote. In place of each text, of a message as well as of a tool, it is given a
    mark of nine characters, as long as Mistral's templates want a call's id, and the texts are put where the marks came
    out. So it cannot branch on a text, and does not strip one; control tokens are looked for in its own words alone.
    It is given a text as it is or, within `tojson`, as JSON.

    A template that does not take the conversation as it is, or leaves something out, is given it with system texts in
    the first question and neighbours of one role as one. Tools are told in plain words where the template does not
    write calls as `calls_mark` and a JSON array.

    bos, eos: as for `prompt_format`. Raises `EngineError` for a template that cannot be run.
    """

    calls_mark = CALLS_MARK

    def __init__(
        self,
        chat_template: str,
        token_id: Callable[[str], int | None],
        *,
        bos: str | None = None,
        eos: str | None = None,
    ) -> None:
        self._sandbox = Sandbox(chat_template)
        self._token_id = token_id
        self._bos = bos if bos is not None else self._first(_BEGINS)
        self._eos = eos if eos is not None else self._first(_ENDS)
        # From v11 on Mistral writes calls as a name, [ARGS] and the arguments.
        self._knows_tools = (
            CALLS_MARK in chat_template and "[ARGS]" not in chat_template and token_id(CALLS_MARK) is not None
        )

    def parts(self, turns: Sequence[Turn], tools: Sequence[ToolSpec] = ()) -> list[Part]:
        attempts = [(list(turns), list(tools))] if self._knows_tools else []
        plain = told(turns, tools)
        attempts += [(plain, []), (_folded(plain), [])]
        failure: UnsupportedError | None = None
        for these, offered in attempts:
            try:
                return self._parts(these, offered)
            except UnsupportedError as error:
                failure = failure or error
        raise failure or UnsupportedError("the model's chat template does not take this conversation")

    def _parts(self, turns: Sequence[Turn], tools: Sequence[ToolSpec]) -> list[Part]:
        marks = _Marks()
        prefix = bool(turns) and turns[-1].prefix
        asked = turns[:-1] if prefix and not turns[-1].text else turns
        goes_on = prefix and asked is turns
        messages = [_message(turn, marks) for turn in asked]
        needed = [marks.of(turn.text) for turn in asked if turn.text]
        offered = [_tool(tool, marks) for tool in tools]
        needed += [marks.of(tool.name) for tool in tools]
        text = self._sandbox.render(
            {
                "messages": messages,
                "tools": offered or None,
                "add_generation_prompt": not goes_on,
                "bos_token": self._bos,
                "eos_token": self._eos,
            }
        )
        if any(mark not in text and marks.quoted(mark) not in text for mark in needed):
            raise UnsupportedError("the model's chat template leaves out a part of this conversation")
        if goes_on:
            last = messages[-1]["content"]
            text = text[: text.rindex(str(last)) + len(str(last))]
        return list(self._split(text, marks))

    def _split(self, text: str, marks: _Marks) -> Iterator[Part]:
        """The template's own words with control tokens as ids, and the users' texts in between, as plain text."""
        plain = ""
        at = 0
        for place in [*MARK.finditer(text), None]:
            end = len(text) if place is None else place.start()
            for part in self._own(text[at:end]):
                if isinstance(part, str):
                    plain += part
                    continue
                if plain:
                    yield plain
                plain = ""
                yield part
            if place is not None:
                plain += marks.text(place)
                at = place.end()
        if plain:
            yield plain

    def _own(self, words: str) -> Iterator[Part]:
        if _ANY_MARK.search(words):
            raise UnsupportedError("the model's chat template takes a text of this conversation apart")
        at = 0
        for found in _NAME.finditer(words):
            token = self._token_id(found[1])
            if token is None or found.start() < at:
                continue
            yield words[at : found.start()]
            yield token
            at = found.start() + len(found[1])
        yield words[at:]

    def _first(self, names: Sequence[str]) -> str:
        return next((name for name in names if self._token_id(name) is not None), "")


class _Marks:
    """Marks in place of texts, see `MARK`."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def of(self, text: str) -> str:
        if text not in self._numbers:
            self._numbers[text] = len(self._texts)
            self._texts.append(text)
        return _mark(2 * self._numbers[text])

    def quoted(self, mark: str) -> str:
        return _mark(int(mark[1:-1]) + 1)

    def text(self, place: re.Match[str]) -> str:
        number, quoted = divmod(int(place[1]), 2)
        if number >= len(self._texts):
            raise UnsupportedError("the model's chat template makes up a text")
        text = self._texts[number]
        return json.dumps(text, ensure_ascii=False)[1:-1] if quoted else text

    def within(self, value: object) -> object:
        """The same JSON value with marks in place of its texts and of names."""
        if isinstance(value, str):
            return value if value in _SCHEMA_WORDS.split() or not value else self.of(value)
        if isinstance(value, Mapping):
            return {self.within(key): self.within(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.within(item) for item in value]
        return value


def _mark(number: int) -> str:
    return f"\ue000{number:07d}\ue001"


def _tool(tool: ToolSpec, marks: _Marks) -> dict[str, object]:
    function = {
        "name": marks.of(tool.name),
        "description": marks.of(tool.description) if tool.description else "",
        "parameters": marks.within(tool.parameters),
    }
    return {"type": "function", "function": function}


def _message(turn: Turn, marks: _Marks) -> dict[str, object]:
    message: dict[str, object] = {"role": turn.role, "content": marks.of(turn.text) if turn.text else ""}
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": marks.of(call.id),
                "type": "function",
                "function": {"name": marks.of(call.name), "arguments": marks.within(value(call.arguments or "{}"))},
            }
            for call in turn.calls
        ]
    if turn.call_id is not None:
        message["tool_call_id"] = marks.of(turn.call_id)
    if turn.name is not None:
        message["name"] = marks.of(turn.name)
    return message


def _folded(turns: Sequence[Turn]) -> list[Turn]:
    """Questions and answers that alternate, system texts in the first question."""
    system = system_text(turns)
    first, *rest = exchange(turns)
    if not system:
        return [first, *rest]
    return [replace(first, text=system + BETWEEN_MESSAGES + first.text if first.text else system), *rest]
