"""Python functions as tools: what a model is told of them, and the conversation in which it calls them."""

from __future__ import annotations

import datetime
import enum
import functools
import inspect
import json
import math
import pickle
from typing import Annotated, Any, Literal

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from mistral_client import (
    ArgumentError,
    ChatMessage,
    MistralAsyncClient,
    MistralClient,
    NotFoundError,
    Tool,
    ToolRun,
    TooManyToolSteps,
    _docstring,
    tool_of,
)
from mistral_client.server import grammar

from .conftest import HELLO, http
from .test_clients import KEY
from .test_exchange import ANSWER


class Unit(enum.Enum):
    celsius = "celsius"
    fahrenheit = "fahrenheit"


class Place(BaseModel):
    """Where it is."""

    city: str = Field(description="its name")
    country: str | None = None


def weather(place: Place, unit: Unit = Unit.celsius, days: Annotated[int, Field(ge=1, le=7)] = 1) -> str:
    """The weather of a place.

    It is made up.

    place: where.
    unit, days: how it is told,
        and for how long.
    """
    assert isinstance(place, Place)
    assert isinstance(unit, Unit)
    return f"{place.city}: {20 + days} {unit.value}"


def add(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b


def described(function):
    tool = tool_of(function)
    properties = tool.function.parameters["properties"]
    return tool.function.description, {name: about.get("description") for name, about in properties.items()}


# --- what a model is told ---


def test_a_function_as_a_tool():
    tool = tool_of(weather)
    assert isinstance(tool, Tool)
    assert tool.model_dump(exclude_unset=True) == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a place.\n\nIt is made up.",
            "parameters": {
                "type": "object",
                "$defs": {
                    "Place": {
                        "type": "object",
                        "description": "Where it is.",
                        "properties": {
                            "city": {"type": "string", "description": "its name"},
                            "country": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                        },
                        "required": ["city"],
                        "additionalProperties": False,
                    },
                    "Unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "properties": {
                    "place": {"$ref": "#/$defs/Place", "description": "where."},
                    "unit": {
                        "$ref": "#/$defs/Unit",
                        "default": "celsius",
                        "description": "how it is told, and for how long.",
                    },
                    "days": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 7,
                        "default": 1,
                        "description": "how it is told, and for how long.",
                    },
                },
                "required": ["place"],
                "additionalProperties": False,
            },
        },
    }


def google(city: str, unit: str = "c", *, plain=None):
    """Looks at the sky.

    For a while:
    or longer.

    Args:
        city (str): The city,
            in English: or not.
        unit: Of the answer.
        plain (Optional[dict[str, int]], optional): Nothing.

    Returns:
        city: no parameter here.
    """


def numpy(city: str, unit: str = "c", plain=None):
    """Looks at the sky.

    For a while:
    or longer.

    Parameters
    ----------
    city : str
        The city,
        in English: or not.
    unit, plain : {'c', 'f'}
        Of the answer.

    Returns
    -------
    str
        Nothing.
    """


def sphinx(city: str, unit: str = "c", plain=None):
    """Looks at the sky.

    For a while:
    or longer.

    :param str city: The city,
        in English: or not.
    :param unit: Of the answer.
    :type unit: str
    :param other: No parameter.
    :returns: Nothing.
    """


def ours(city: str, unit: str = "c", plain=None):
    """Looks at the sky.

    For a while:
    or longer.

    city: The city,
        in English: or not.
    unit, plain: Of the answer.

    Raises nothing: ever.
    """


@pytest.mark.parametrize(
    ("function", "plain"), [(google, "Nothing."), (numpy, "Of the answer."), (sphinx, None), (ours, "Of the answer.")]
)
def test_the_styles_of_docstrings(function, plain):
    more = "\n\nRaises nothing: ever." if function is ours else ""
    assert described(function) == (
        f"Looks at the sky.\n\nFor a while:\nor longer.{more}",
        {"city": "The city, in English: or not.", "unit": "Of the answer.", "plain": plain},
    )


@given(st.text(alphabet="ab:,-() \n", max_size=60), st.sampled_from(["", "Args:\n", "Parameters\n---\n", ":param a: "]))
def test_any_docstring_can_be_read(text, before):
    description, meanings = _docstring.described(before + text, {"a", "b"})
    assert description == description.strip()
    assert meanings.keys() <= {"a", "b"}


def test_what_an_annotation_says_counts_more():
    def f(city: Annotated[str, Field(description="from the annotation")], other: int):
        """city: from the docstring
        other: from the docstring
        """

    assert described(f) == (None, {"city": "from the annotation", "other": "from the docstring"})


def test_no_docstring_and_no_annotation():
    def f(a, b=None): ...

    parameters = tool_of(f).function.parameters
    assert (described(f), parameters["required"]) == ((None, {"a": None, "b": None}), ["a"])
    assert parameters["properties"] == {"a": {}, "b": {"default": None}}


def test_names_that_pydantic_has_for_itself_and_defaults_that_are_no_json():
    nothing, ones = object(), [1]

    def f(self: int, schema: str, model_config: bool, _hidden: int, copy=nothing, nan=math.nan, json=ones): ...

    parameters = tool_of(f).function.parameters
    assert parameters["required"] == ["self", "schema", "model_config", "_hidden"]
    assert parameters["properties"]["json"]["default"] == [1]
    assert "default" not in parameters["properties"]["copy"] | parameters["properties"]["nan"]


class Desk:
    def find(self, name: str) -> str:
        """Finds it."""
        return name

    @staticmethod
    def tidy(*, now: Literal["yes", "no"]) -> None: ...

    def __call__(self, a: int) -> None: ...


def test_methods_and_wrapped_functions():
    assert [*tool_of(Desk().find).function.parameters["properties"]] == ["name"]
    assert tool_of(Desk.tidy).function.parameters["properties"] == {"now": {"enum": ["yes", "no"], "type": "string"}}

    @functools.wraps(add)
    def wrapped(*args, **kwargs):
        return add(*args, **kwargs)

    assert tool_of(wrapped) == tool_of(add)


def unresolved(a: Nowhere): ...  # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a: a, "a function needs a name"),
        (functools.partial(add, b="secret"), "a partial needs a name"),
        (Desk(), "a Desk needs a name"),
        (print, r"print its \*args"),
        (unresolved, "signature of unresolved cannot be read: name 'Nowhere' is not defined"),
    ],
)
def test_what_no_model_can_call(function, message):
    with pytest.raises(ArgumentError, match=f"tools: .*({message})") as raised:
        tool_of(function)
    assert "secret" not in str(raised.value)


def test_parameters_that_no_model_can_give():
    def stars(*rest: int): ...
    def pairs(**rest: int): ...
    def placed(a: int, /): ...
    def strange(a: type(len)): ...

    for function, named in ((stars, r"\*rest"), (pairs, r"\*\*rest"), (placed, "a: int")):
        with pytest.raises(ArgumentError, match=f"cannot give {function.__name__} its {named}"):
            tool_of(function)
    with pytest.raises(ArgumentError, match="tools: strange: "):
        tool_of(strange)


@pytest.mark.parametrize("function", [weather, google, add, Desk.tidy])
def test_the_local_server_can_hold_its_model_to_it(function):
    tool = tool_of(function)
    grammar.of_calls([(tool.function.name, tool.function.parameters)], mark="[C]", required=True, parallel=True)


# --- the conversation ---


def calling(*calls, content="", id="callid{:03}"):
    """An answer that calls functions: pairs of a name and arguments."""
    wire = [
        {
            "id": id.format(number),
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for number, (name, given) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": content} | ({"tool_calls": wire} if calls else {})
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return [http(json.dumps({**ANSWER, "choices": [choice]}).encode()), None]


DONE = calling(content="It is warm.")


def sent(request):
    return json.loads(request.partition(b"\r\n\r\n")[2])


def told(server):
    """What the model was told of its calls, in the last request."""
    return [message["content"] for message in sent(server.requests[-1])["messages"] if message["role"] == "tool"]


def test_a_conversation(make_client, raw_server):
    server = raw_server(
        calling(("weather", {"place": {"city": "Paris"}, "unit": "fahrenheit"}), ("add", {"a": 1})),
        calling(("add", '{"a": "3", "b": 4}')),
        DONE,
    )
    steps = []
    run = make_client(KEY, server.url).run_tools(HELLO, "m", [weather, add], temperature=0, on_step=steps.append)
    assert isinstance(run, ToolRun)
    assert run.response.choices[0].message.content == "It is warm."
    assert run.usage.model_dump() == {"prompt_tokens": 3, "total_tokens": 6, "completion_tokens": 3}
    first, second, third = map(sent, server.requests)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["weather", "add"]
    assert (first["temperature"], first["messages"], "tool_choice" in first) == (0, HELLO, False)
    assert second["messages"][1:] == [
        json.loads(server.scripts[0][0].partition(b"\r\n\r\n")[2])["choices"][0]["message"],
        {"role": "tool", "name": "weather", "content": "Paris: 21 fahrenheit", "tool_call_id": "callid000"},
        {"role": "tool", "name": "add", "content": "3", "tool_call_id": "callid001"},
    ]
    assert third["messages"][-1]["content"] == "7"
    assert [message.role for message in run.messages] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]
    assert all(isinstance(message, ChatMessage) for message in run.messages)
    assert [(step.number, len(step.results)) for step in steps] == [(1, 2), (2, 1), (3, 0)]
    assert steps[-1].response == run.response


def test_it_goes_on_from_what_it_came_to(make_client, raw_server):
    server = raw_server(calling(("add", {"a": 1})), DONE)
    client = make_client(KEY, server.url)
    run = client.run_tools("m", iter(HELLO), iter([add]))
    client.run_tools([*run.messages, *HELLO], "m", [add])
    assert len(sent(server.requests[-1])["messages"]) == 5


def test_an_answer_without_calls_is_the_last(make_client, raw_server):
    server = raw_server(DONE)
    run = make_client(KEY, server.url).run_tools(HELLO, "m", [add], max_steps=1)
    assert ([message.role for message in run.messages], len(server.requests)) == (["user", "assistant"], 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("add", {}), "the arguments are wrong: a: Field required"),
        (("add", {"a": "x"}), "the arguments are wrong: a: Input should be a valid integer"),
        (("add", {"a": 1, "c": 2}), "the arguments are wrong: c: Extra inputs are not permitted"),
        (("add", '{"a": 1'), "the arguments are wrong: Invalid JSON"),
        (("add", "[]"), "the arguments are wrong: "),
        (("subtract", {"a": 1}), "there is no tool subtract, only add, fails"),
        (("fails", {}), "LookupError: no such city"),
        (("fails", ""), "LookupError: no such city"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(make_client, raw_server, given, message):
    def fails():
        raise LookupError("no such city")

    server = raw_server(calling(given), DONE)
    make_client(KEY, server.url).run_tools(HELLO, "m", [add, fails])
    assert told(server)[0].startswith(f"Error: {message}")


def test_errors_are_raised_where_that_is_wanted(make_client, raw_server):
    def fails():
        raise LookupError("no such city")

    server = raw_server(calling(("add", {}), ("fails", {})), DONE)
    with pytest.raises(LookupError, match="no such city"):
        make_client(KEY, server.url).run_tools(HELLO, "m", [add, fails], raise_errors=True)
    assert len(server.requests) == 1


def test_errors_of_the_server_are_raised(make_client, raw_server):
    server = raw_server(calling(("add", {"a": 1})), [http(b'{"message": "gone"}', "404 Not Found")])
    with pytest.raises(NotFoundError):
        make_client(KEY, server.url).run_tools(HELLO, "m", [add])


@pytest.mark.parametrize(
    ("result", "content"),
    [
        ("as it is", "as it is"),
        (None, "null"),
        ([1, "é"], '[1,"é"]'),
        (Place(city="Paris"), '{"city":"Paris","country":null}'),
        (datetime.date(2024, 1, 2), '"2024-01-02"'),
        (Unit.celsius, '"celsius"'),
    ],
)
def test_results(make_client, raw_server, result, content):
    def give() -> Any:
        return result

    server = raw_server(calling(("give", {})), DONE)
    make_client(KEY, server.url).run_tools(HELLO, "m", [give])
    assert told(server) == [content]


def test_a_result_that_is_no_json(make_client, raw_server):
    def give():
        return object()

    client = make_client(KEY, raw_server(calling(("give", {}))).url)
    with pytest.raises(ArgumentError, match="tools: what give returns cannot be written as JSON"):
        client.run_tools(HELLO, "m", [give])


def test_a_conversation_that_comes_to_no_end(make_client, raw_server):
    server = raw_server(calling(("add", {"a": 1}), content="Let me see."))
    client = make_client(KEY, server.url)
    with pytest.raises(TooManyToolSteps, match="after 3 steps") as raised:
        client.run_tools(HELLO, "m", [add], max_steps=3)
    error = pickle.loads(pickle.dumps(raised.value))
    assert len(server.requests) == 3
    assert [message["role"] for message in error.messages] == ["user", *["assistant", "tool"] * 3]
    assert (error.text, error.finish_reason, error.usage["total_tokens"]) == ("Let me see.", "tool_calls", 6)
    server.scripts = [DONE]
    run = client.run_tools(error.messages, "m", [add])
    assert (len(run.messages), run.messages[-1].content) == (8, "It is warm.")


@pytest.mark.parametrize(
    ("choice", "later"),
    [
        ("any", "auto"),
        ("required", "auto"),
        ({"type": "function", "function": {"name": "add"}}, "auto"),
        ("auto", "auto"),
        ("none", "none"),
        (None, None),
    ],
)
def test_who_must_call_must_do_so_once(make_client, raw_server, choice, later):
    server = raw_server(calling(("add", {"a": 1})), DONE)
    make_client(KEY, server.url).run_tools(HELLO, "m", [add], tool_choice=choice)
    assert [sent(request).get("tool_choice") for request in server.requests] == [choice, later]


@pytest.mark.parametrize(
    ("tools", "options", "message"),
    [
        ([], {}, "tools: there is no function"),
        ([add, add], {}, "tools: two functions have the name add"),
        ([tool_of(add)], {}, "tools: a Tool is no function"),
        ([lambda: 0], {}, "tools: a function needs a name"),
        ([add], {"max_steps": 0}, "max_steps: 0 is less than 1"),
        ([add], {"n": 2}, "n: there can be one answer"),
        ([add], {"temperature": 9}, "temperature: "),
        ([add], {"response_model": int}, "response_model: "),
    ],
)
def test_wrong_arguments_are_never_sent(make_client, raw_server, tools, options, message):
    server = raw_server(DONE)
    with pytest.raises(ArgumentError, match=message):
        make_client(KEY, server.url).run_tools(HELLO, "m", tools, **options)
    with pytest.raises(ArgumentError, match="messages"):
        make_client(KEY, server.url).run_tools([], "m", [add])
    assert server.requests == []


def test_what_a_callback_raises_ends_the_conversation(make_client, raw_server):
    def enough(step):
        raise KeyError(step.number)

    server = raw_server(calling(("add", {"a": 1})))
    with pytest.raises(KeyError, match="1"):
        make_client(KEY, server.url).run_tools(HELLO, "m", [add], on_step=enough)
    assert len(server.requests) == 1


async def later(city: str, delay: float = 0.01) -> str:
    """Knows the weather, after a while."""
    await anyio.sleep(delay)
    return f"warm in {city}"


def test_asynchronous_functions_need_an_asynchronous_client(raw_server):
    server = raw_server(calling(("later", {"city": "Paris"})), DONE)
    with MistralClient(KEY, server.url) as client, pytest.raises(ArgumentError, match="later is asynchronous"):
        client.run_tools(HELLO, "m", [later])
    assert server.requests == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_asynchronous_functions(raw_server, backend):
    server = raw_server(calling(("later", {"city": "Paris"}), ("add", {"a": 1}), ("later", {"city": "Rome"})), DONE)
    seen = []

    async def on_step(step):
        await anyio.lowlevel.checkpoint()
        seen.append(step.number)

    async def main():
        async with MistralAsyncClient(KEY, server.url) as client:
            return await client.run_tools(HELLO, "m", [later, add], on_step=on_step)

    run = anyio.run(main, backend=backend)
    assert told(server) == ["warm in Paris", "3", "warm in Rome"]
    assert (seen, run.response.choices[0].message.content) == ([1, 2], "It is warm.")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_tool_can_be_cancelled(raw_server, backend):
    server = raw_server(calling(("later", {"city": "Paris", "delay": 60})))

    async def main():
        async with MistralAsyncClient(KEY, server.url) as client:
            with anyio.move_on_after(0.3) as scope:
                await client.run_tools(HELLO, "m", [later])
            return scope.cancelled_caught

    assert anyio.run(main, backend=backend)
    assert len(server.requests) == 1


@pytest.mark.weights
def test_a_real_model_calls_what_it_must():
    def double(number: Annotated[int, Field(ge=0, le=999)], colour: Literal["red", "blue"] = "red") -> str:
        """Doubles a number.

        number: what is doubled.
        """
        assert isinstance(number, int)
        return f"{2 * number} in {colour}"

    with MistralClient(endpoint="local") as client:
        run = client.run_tools(
            [{"role": "user", "content": "Double the number 21."}],
            "mistral-small",
            [double],
            tool_choice="any",
            parallel_tool_calls=False,
            temperature=0,
            max_tokens=40,
        )
    _, asked, result, *_ = run.messages
    arguments = json.loads(asked.tool_calls[0].function.arguments)
    assert result.content == double(**arguments)
    assert (result.role, run.messages[-1].role, run.messages[-1].tool_calls) == ("tool", "assistant", None)


def test_the_signature_is_that_of_both_clients():
    assert inspect.signature(MistralClient.run_tools) == inspect.signature(MistralAsyncClient.run_tools)
