"""Answers as values of a type: what is asked for, and what is made of everything that models answer."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import ipaddress
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, Json, RootModel, TypeAdapter
from typing_extensions import TypedDict

from mistral_client import (
    ArgumentError,
    ChatCompletionResponse,
    MistralClient,
    ParsedChatCompletionResponse,
    ResponseParsingError,
    StreamInterrupted,
    _structured,
)
from mistral_client._json_schema import schema_of
from mistral_client._sse import encode_event
from mistral_client.server import grammar

from .conftest import HELLO, chunk, chunked_head, http
from .test_chunks import event
from .test_clients import KEY
from .test_exchange import ANSWER

ROOT = Path(__file__).parents[1]


class City(BaseModel):
    """A place."""

    name: str
    population: int = Field(default=0, ge=0, description="people")
    country: str | None = None


class Node(BaseModel):
    label: str
    children: list[Node] = []


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


class Movie(TypedDict):  # pydantic takes that of `typing` from Python 3.12 on
    title: str
    year: NotRequired[int]


class Colour(enum.Enum):
    red = "red"
    blue = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
ANY_PLACE = {"name": "Paris", "population": 2, "country": None}


def answer(content, finish_reason="stop", **message):
    choice = {"index": 0, "finish_reason": finish_reason}
    choice["message"] = {"role": "assistant", "content": content, **message}
    return ChatCompletionResponse.model_validate({**ANSWER, "choices": [choice]})


def parsed(kind, content, *args, **more):
    return _structured.form_of(kind).parsed(answer(content, *args, **more)).parsed


def wrong(kind, content, *args, **more):
    with pytest.raises(ResponseParsingError) as raised:
        parsed(kind, content, *args, **more)
    return raised.value


def served(content, finish_reason="stop", **message):
    return [http(answer(content, finish_reason, **message).model_dump_json(exclude_unset=True).encode()), None]


def body(request):
    return json.loads(request.partition(b"\r\n\r\n")[2])


# --- what is asked for ---


def test_the_schema_names_every_field_and_forbids_others():
    assert _structured.form_of(City).asked({"temperature": 0})["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "City",
            "strict": True,
            "schema": {
                "type": "object",
                "description": "A place.",
                "properties": {
                    "name": {"type": "string"},
                    "population": {"type": "integer", "minimum": 0, "description": "people"},
                    "country": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
                "required": ["name", "population", "country"],
                "additionalProperties": False,
            },
        },
    }


KINDS: dict[str, tuple[Any, Any, Any]] = {
    # a type, JSON of it as a model may write it, the value
    "model": (City, ANY_PLACE, City(name="Paris", population=2)),
    "model that contains itself": (
        Node,
        {"label": "a", "children": [{"label": "b", "children": []}]},
        Node(label="a", children=[Node(label="b")]),
    ),
    "dataclass": (Point, {"x": 1, "y": 2.5}, Point(1, 2.5)),
    "typed dict": (Movie, {"title": "M", "year": 1931}, {"title": "M", "year": 1931}),
    "dict": (dict[str, int], {"a": 1}, {"a": 1}),
    "dict with keys of a type": (dict[Colour, int], {"red": 1}, {Colour.red: 1}),
    "list": (list[int], [1, 2], [1, 2]),
    "list of models": (list[Node], [{"label": "a", "children": []}], [Node(label="a")]),
    "set": (set[str], ["a"], {"a"}),
    "tuple": (tuple[int, str], [1, "a"], (1, "a")),
    "union of models": (Cat | Dog, {"kind": "dog", "tricks": ["sit"]}, Dog(kind="dog", tricks=["sit"])),
    "union with a tag": (Pet, {"kind": "cat", "lives": 9}, Cat(kind="cat", lives=9)),
    "list of a union": (list[Pet], [{"kind": "cat", "lives": 9}], [Cat(kind="cat", lives=9)]),
    "union of scalars": (int | str, "a", "a"),
    "optional": (Optional[int], None, None),  # noqa: UP045
    "enum": (Colour, "blue", Colour.blue),
    "literal": (Literal["yes", "no"], "no", "no"),
    "int": (int, 42, 42),
    "float": (float, 1.5, 1.5),
    "bool": (bool, True, True),
    "str": (str, "a", "a"),
    "constrained": (Annotated[int, Field(ge=1, le=5, multiple_of=2)], 4, 4),
    "root model": (RootModel[list[int]], [1], RootModel[list[int]]([1])),
    "date": (datetime.date, "2024-01-02", datetime.date(2024, 1, 2)),
    "time": (datetime.datetime, "2024-01-02T03:04:05Z", datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)),
    "duration": (datetime.timedelta, "PT5M", datetime.timedelta(minutes=5)),
    "decimal": (Decimal, "1.10", Decimal("1.10")),
    "uuid": (uuid.UUID, str(uuid.UUID(int=5)), uuid.UUID(int=5)),
    "url": (AnyUrl, "https://example.com/", AnyUrl("https://example.com/")),
    "address": (ipaddress.IPv6Address, "::1", ipaddress.IPv6Address("::1")),
    "JSON in a text": (Json, "[1]", [1]),
    "anything": (Any, {"a": [1]}, {"a": [1]}),
}


@pytest.mark.parametrize(("kind", "written", "value"), KINDS.values(), ids=KINDS)
def test_a_type(kind, written, value):
    form = _structured.form_of(kind)
    assert form.schema["type"] == "object", "servers insist on it"
    grammar.of_schema(form.schema)  # the local server can hold its model to it
    document = json.dumps(written if form.wrapper is None else {"value": written})
    assert parsed(kind, document) == value
    assert parsed(kind, json.dumps(written)) == value, "a model that knows of no wrapper"
    assert type(parsed(kind, document)) is type(value)


@pytest.mark.parametrize("kind", [type(len), MistralClient, 7, Callable[[int], int]])
def test_a_type_that_json_has_no_words_for(kind):
    with pytest.raises(ArgumentError, match=r"response_model: "):
        _structured.form_of(kind)


def test_a_type_without_a_hash():
    assert parsed(Annotated[int, Field(json_schema_extra={"a": []}), {"un": "hashable"}], '{"value": 5}') == 5


def test_only_servers_that_are_strict_need_every_field():
    schema = schema_of(TypeAdapter(City))
    assert (schema["required"], schema["properties"]["population"]["default"]) == (["name"], 0)


def test_objects_that_take_more_stay_open():
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        a: int

    assert _structured.form_of(Open).schema["additionalProperties"] is True


def test_patterns_without_lookaround_are_asked_for():
    class Code(BaseModel):
        model_config = ConfigDict(regex_engine="python-re")
        plain: str = Field(pattern="^[a-z]+$")
        ahead: str = Field(pattern="^(?=a)[a-z]+$")

    properties = _structured.form_of(Code).schema["properties"]
    assert (properties["plain"].get("pattern"), properties["ahead"].get("pattern")) == ("^[a-z]+$", None)


def test_properties_may_be_called_like_keywords():
    class Odd(BaseModel):
        title: str
        default: int = 1
        format: Literal["uri"] = "uri"
        pattern: str = "(?=a)"
        properties: dict[str, int] = {}

    schema = _structured.form_of(Odd).schema
    assert [*schema["properties"]] == schema["required"] == ["title", "default", "format", "pattern", "properties"]


@pytest.mark.parametrize("name", ["tools", "response_format"])
def test_an_answer_has_one_form(name, make_client, raw_server):
    server = raw_server(served("{}"))
    client = make_client(KEY, server.url)
    options = {name: [] if name == "tools" else {"type": "text"}}
    for call in (client.chat, client.chat_stream):
        with pytest.raises(ArgumentError, match=name):
            call(HELLO, "m", response_model=City, **options)
    assert server.requests == []


@pytest.mark.parametrize(("options", "named"), [({"max_reasks": 1}, "no response_model"), ({"max_reasks": -1}, "max_")])
def test_reasks_that_cannot_be(options, named, make_client):
    with pytest.raises(ArgumentError, match=named):
        make_client(KEY, "http://127.0.0.1:9").chat(HELLO, "m", **options)
    with pytest.raises(ArgumentError, match="max_reasks"):
        make_client(KEY, "http://127.0.0.1:9").chat(HELLO, "m", response_model=int, max_reasks=-1)
    with pytest.raises(ArgumentError, match="max_reasks"):
        make_client(KEY, "http://127.0.0.1:9").chat_stream(HELLO, "m", response_model=int, max_reasks=1)


# --- what models answer ---

PLACE = json.dumps(ANY_PLACE)
PARIS = City(name="Paris", population=2)


@pytest.mark.parametrize(
    "content",
    [
        PLACE,
        f"\n {PLACE}\n",
        f"```json\n{PLACE}\n```",
        f"```\n{PLACE}\n```",
        f"Here it is:\n```json\n{PLACE}\n```\nAnything else?",
        f"Sure! {PLACE} (as of [1], {{unsure}})",
        f"[see below] {PLACE}",
        f"{PLACE} and again: {PLACE}",
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": '{"name": "x"}'}]},
            {"type": "text", "text": PLACE},
        ],
    ],
)
def test_json_in_other_text(content):
    assert parsed(City, content) == PARIS


def test_a_cut_after_the_json_is_whole_is_no_harm():
    assert parsed(City, f"{PLACE} And furtherm", "length") == PARIS


@pytest.mark.parametrize(
    ("kind", "content", "finish_reason", "message"),
    [
        (City, PLACE[:-1], "length", "was cut"),
        (City, PLACE[:12], "length", "was cut"),
        (list[int], '{"value": [1, 2', "length", "was cut"),
        (list[int], 'In [x] {"note": "see [1] for', "stop", "no whole JSON"),
        (int, "12", "length", "was cut"),
        (City, PLACE[:-1], "stop", "no whole JSON"),
        (City, "I do not know.", "stop", "no whole JSON"),
        (City, '{"a": {"name": "x"}, oops}', "stop", "no whole JSON"),
        (City, "[" * 100_000, "stop", "no whole JSON"),
        (City, "{}", "stop", "name: Field required"),
        (City, '{"name": "x", "population": -1}', "stop", "population: Input should be greater than or equal to 0"),
        (Node, '{"label": "a", "children": [{}]}', "stop", "children.0.label: Field required"),
        (list[int], '{"value": [1, "x"]}', "stop", "value.1: Input should be a valid integer"),
        (list[str], 'So: ["\\ud800"]', "stop", "no whole JSON"),  # which Python's own parser takes
        (City, "[1] {}", "stop", "none of 2 JSON documents fits, and of the last: name: Field required"),
        (City, f'{PLACE} or {{"name": "Lyon"}}', "stop", "holds 2 values"),
        (City, "", "stop", "has no text"),
        (City, None, "content_filter", "has no text"),
    ],
)
def test_an_answer_that_is_not_of_the_type(kind, content, finish_reason, message):
    error = wrong(kind, content, finish_reason)
    assert message in error.message
    assert (error.text, error.finish_reason) == (content or "", finish_reason)
    assert error.usage == ANSWER["usage"]
    assert not error.retryable


def test_a_refusal_and_calls_in_place_of_an_answer():
    error = wrong(City, None, refusal="I cannot help with that.")
    assert (error.message, error.text) == ("the model refused", "I cannot help with that.")
    call = {"id": "aaaaaaaaa", "function": {"name": "f", "arguments": "{}"}}
    assert wrong(City, "", tool_calls=[call], refusal=None).message == "the answer has no text"
    empty = ChatCompletionResponse.model_validate({**ANSWER, "choices": []})
    with pytest.raises(ResponseParsingError, match="no text"):
        _structured.form_of(City).parsed(empty)


def test_what_was_said_is_not_in_the_message():
    assert "secret" not in wrong(City, '{"name": "x", "population": "secret"}').message


@given(st.text(max_size=30), st.text(alphabet='{}[]",: ab1`\n', max_size=60))
def test_any_text_is_a_value_or_the_error(before, text):
    for content in (text, before + text, f"{before}{PLACE}{text}"):
        try:
            value = parsed(City, content)
        except ResponseParsingError as error:
            value = error
        assert isinstance(value, City) or value.text == content


@given(st.text(alphabet=st.characters(exclude_characters="{}[]", exclude_categories=["Cs"]), max_size=20))
def test_text_without_brackets_around_json_is_no_harm(around):
    assert parsed(City, around + PLACE + around) == PARIS


# --- through the clients ---


def test_chat(make_client, raw_server):
    server = raw_server(served(PLACE, logprobs=None))
    response = make_client(KEY, server.url).chat(HELLO, "m", response_model=City, temperature=0)
    assert response.parsed == PARIS
    assert isinstance(response, ParsedChatCompletionResponse)
    assert response.choices[0].message.content == PLACE
    assert response.model_dump() == answer(PLACE, logprobs=None).model_dump(), "the value is no part of the wire"
    sent = body(server.requests[0])
    assert (sent["response_format"]["type"], sent["temperature"]) == ("json_schema", 0)
    assert [*sent] == ["model", "messages", "temperature", "response_format"]


def test_an_answer_that_does_not_fit_is_asked_for_again(make_client, raw_server):
    server = raw_server(served('{"name": 1}'), served(""), served(PLACE))
    client = make_client(KEY, server.url)
    response = client.chat("m", iter(HELLO), response_model=City, max_reasks=2, random_seed=1)
    assert response.parsed == PARIS
    assert response.usage.model_dump() == {"prompt_tokens": 3, "total_tokens": 6, "completion_tokens": 3}
    first, second, third = map(body, server.requests)
    assert first["messages"] == HELLO
    asked, told = second["messages"][len(HELLO) :]
    assert asked == {"role": "assistant", "content": '{"name": 1}'}
    assert told["role"] == "user"
    assert "name: Input should be a valid string" in told["content"]
    assert json.dumps(first["response_format"]["json_schema"]["schema"]) in told["content"]
    assert [message["role"] for message in third["messages"]] == ["user", "assistant", "user", "user"]
    assert {json.dumps({**sent, "messages": 0}) for sent in (first, second, third)} == {
        json.dumps({**first, "messages": 0})
    }


def test_asking_again_ends(make_client, raw_server):
    server = raw_server(served("no"))
    with pytest.raises(ResponseParsingError, match="no whole JSON") as raised:
        make_client(KEY, server.url).chat(HELLO, "m", response_model=City, max_reasks=2)
    assert (len(server.requests), raised.value.text, raised.value.finish_reason) == (3, "no", "stop")
    assert raised.value.usage == {"prompt_tokens": 3, "total_tokens": 6, "completion_tokens": 3}
    server.requests.clear()
    with pytest.raises(ResponseParsingError):
        make_client(KEY, server.url).chat(HELLO, "m", response_model=City)
    assert len(server.requests) == 1


def streamed(text, size=5, end="stop"):
    events = [event({"role": "assistant", "content": ""})]
    events += [event({"content": text[at : at + size]}) for at in range(0, len(text), size)]
    events += [event({"content": ""}, end), encode_event("[DONE]")] if end else []
    return [chunked_head(), *map(chunk, events), chunk(b"")]


def test_a_stream_of_a_value(make_client, raw_server):
    client = make_client(KEY, raw_server(streamed(PLACE)).url)
    response = client.chat_stream(HELLO, "m", response_model=City).final_response()
    assert (response.parsed, response.choices[0].message.content) == (PARIS, PLACE)
    with client.chat_stream(HELLO, "m", response_model=City) as stream:
        assert next(stream).choices[0].delta.role == "assistant"
        assert (stream.text(), stream.final_response().parsed) == (PLACE, PARIS)


def test_a_value_as_it_grows(make_client, raw_server):
    text = '{"value": ["one", "two\\n", 3]}'
    client = make_client(KEY, raw_server(streamed(text, 1)).url)
    stream = client.chat_stream(HELLO, "m", response_model=list[str | int])
    seen = list(stream.partials())
    whole = ["one", "two\n", 3]
    assert seen == [[], *([one] for one in ("", "o", "on", "one")), *(["one", two] for two in ("", "t", "tw", "two")), whole[:2], whole]  # fmt: skip
    assert stream.final_response().parsed == whole


def test_partials_pass_over_text_around(make_client, raw_server):
    client = make_client(KEY, raw_server(streamed(f"```json\n{PLACE}\n``` there", 3)).url)
    stream = client.chat_stream(HELLO, "m", response_model=City)
    *_, last = stream.partials()
    assert (last, stream.final_response().parsed) == (ANY_PLACE, PARIS)
    client = make_client(KEY, raw_server(streamed("nothing {here}, nor [there}", 3)).url)
    assert list(client.chat_stream(HELLO, "m", response_model=City).partials()) == [{}]


def test_a_stream_that_breaks_off_and_one_that_does_not_fit(make_client, raw_server):
    client = make_client(KEY, raw_server(streamed(PLACE[:20], end=None), streamed("no")).url)
    stream = client.chat_stream(HELLO, "m", response_model=City)
    partials = []
    with pytest.raises(StreamInterrupted):
        partials.extend(stream.partials())
    assert partials[-1] == {"name": "Paris"}
    with pytest.raises(StreamInterrupted) as raised:
        stream.final_response()
    assert raised.value.text == PLACE[:20]
    stream = client.chat_stream(HELLO, "m", response_model=City)
    for _ in range(2):
        with pytest.raises(ResponseParsingError):
            stream.final_response()


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int | None = Field(ge=0, le=150)


@pytest.mark.weights
@pytest.mark.parametrize("kind", [Person, Annotated[list[Colour], Field(min_length=2, max_length=3)]])
def test_a_real_model_is_held_to_the_type(kind):
    messages = [{"role": "user", "content": "Give an example."}]
    with MistralClient(endpoint="local") as client:
        response = client.chat(messages, "mistral-small", response_model=kind, max_tokens=40, random_seed=1)
        TypeAdapter(kind).validate_python(response.parsed)
        with client.chat_stream(messages, "mistral-small", response_model=kind, max_tokens=40, random_seed=1) as stream:
            *_, last = stream.partials()
            assert stream.final_response().parsed == TypeAdapter(kind).validate_python(last) == response.parsed


TYPED = """
from dataclasses import dataclass
from typing import Any, assert_type

from mistral_client import (
    AsyncChatStream, AsyncParsedChatStream, ChatCompletionResponse, ChatCompletionStreamResponse, ChatStream,
    MistralAsyncClient, MistralClient, ParsedChatCompletionResponse, ParsedChatStream, UsageInfo,
)


@dataclass
class Point:
    x: int


def sync(client: MistralClient) -> None:
    assert_type(client.chat([], "m"), ChatCompletionResponse)
    assert_type(client.chat([], "m", temperature=0.5), ChatCompletionResponse)
    assert_type(client.chat([], "m", response_model=Point, max_reasks=1), ParsedChatCompletionResponse[Point])
    assert_type(client.chat([], "m", response_model=Point).parsed, Point)
    assert_type(client.chat([], "m", response_model=list[int], top_p=1).parsed, list[int])
    assert_type(client.chat([], "m", response_model=int | str), ParsedChatCompletionResponse[Any])
    assert_type(client.chat_stream([], "m"), ChatStream[ChatCompletionStreamResponse])
    assert_type(client.chat_stream([], "m").final_response(), ChatCompletionResponse)
    assert_type(client.chat_stream([], "m").text(), str)
    assert_type(client.chat_stream([], "m").usage, UsageInfo | None)
    assert_type(client.chat_stream([], "m", response_model=Point), ParsedChatStream[Point])
    assert_type(client.chat_stream([], "m", response_model=Point).final_response().parsed, Point)
    client.chat([], "m", max_reasks=1)  # type: ignore[call-overload]
    client.chat([], "m", response_model=Point, temprature=1)  # type: ignore[call-overload]


async def asynchronous(client: MistralAsyncClient) -> None:
    assert_type(await client.chat([], "m"), ChatCompletionResponse)
    assert_type((await client.chat([], "m", response_model=Point)).parsed, Point)
    assert_type((await client.chat([], "m", response_model=int | str)).parsed, Any)
    assert_type(client.chat_stream([], "m"), AsyncChatStream[ChatCompletionStreamResponse])
    stream = client.chat_stream([], "m", response_model=Point)
    assert_type(stream, AsyncParsedChatStream[Point])
    assert_type((await stream.final_response()).parsed, Point)
    async for partial in stream.partials():
        assert_type(partial, Any)
"""


def test_the_type_checker_knows_the_type(tmp_path):
    (tmp_path / "typed.py").write_text(TYPED)
    program = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", str(tmp_path / "typed.py")]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
