"""Which reply a request gets."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from mistral_client.testing.chat import ChatReply
from mistral_client.testing.embeddings import EmbeddingsReply
from mistral_client.testing.failure import Failure
from mistral_client.testing.request import CHAT, EMBEDDINGS, Request
from mistral_client.testing.script import Script


def chat(text="hello", model="m"):
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return Request("POST", CHAT + "?beta=1", {}, json.dumps(body).encode(), 0.0)


def script(*replies):
    made = Script()
    for text, options in replies:
        made.add(ChatReply(text), options)
    return made


def said(script, request, times):
    replies = [script.next(request) for _ in range(times)]
    return "".join("-" if each is None else each.reply.text for each in replies)


def test_nothing_is_said_of_itself():
    assert Script().next(chat()) is None


def test_each_once_and_the_last_one_always():
    assert said(script(("a", {})), chat(), 3) == "aaa"
    assert said(script(("a", {}), ("b", {}), ("c", {})), chat(), 5) == "abccc"


def test_so_often_and_no_more():
    assert said(script(("a", {"times": 2}), ("b", {})), chat(), 4) == "aabb"
    assert said(script(("a", {}), ("b", {"times": 2})), chat(), 4) == "abb-"
    assert said(script(("a", {"times": 1, "when": "hello"}), ("b", {})), chat(), 3) == "abb"


def test_those_for_some_come_before_those_for_all():
    made = script(("a", {}), ("w", {"when": "weather"}), ("x", {"when": "weather"}), ("l", {"model": "large"}))
    assert said(made, chat("weather"), 3) == "wxx"
    assert said(made, chat(), 2) == "aa"
    assert said(made, chat(model="large"), 2) == "ll"
    assert said(made, chat("weather", "large"), 1) == "x"  # the first that fits


def test_a_text_an_expression_a_function():
    function = lambda request: len(request.text) > 3  # noqa: E731
    made = script(
        ("e", {"when": re.compile("^x")}),
        ("m", {"model": re.compile("^mistral-")}),
        ("f", {"when": function}),
        ("g", {"when": function}),
        ("o", {}),
    )
    assert said(made, chat("xyzzy"), 1) == "e"
    assert said(made, chat("a", "mistral-small"), 1) == "m"
    assert said(made, chat("abcd"), 3) == "fgg"
    assert said(made, chat("a"), 1) == "o"


def test_only_what_can_answer_is_in_the_order():
    made = Script()
    made.add(EmbeddingsReply(None), {})
    made.add(Failure(503), {})
    made.add(ChatReply("a"), {})
    assert isinstance(made.next(chat()).reply, Failure)
    assert made.next(chat()).reply == ChatReply("a")
    embedded = Request("POST", EMBEDDINGS, {}, b"{}", 0.0)
    assert isinstance(made.next(embedded).reply, EmbeddingsReply)
    assert isinstance(made.next(embedded).reply, Failure)
    assert made.next(Request("GET", CHAT, {}, b"", 0.0)).reply == Failure(503)


def test_options_that_are_none_are_not_given():
    made = script(("a", {"when": None, "times": None, "cut_after": None}))
    assert made.next(chat()).faults == {}
    assert str(made) == "  reply('a')"


@given(
    st.lists(st.tuples(st.sampled_from(["x", "y", None]), st.sampled_from([None, 1, 2, 3])), max_size=6),
    st.integers(1, 12),
)
def test_a_script_is_said_in_its_order(replies, asked):
    """Of those with `times` none is said more often; of one route each comes after those before it are used up."""
    options = [{"when": when, "times": times} for when, times in replies]
    made = script(*((str(number), each) for number, each in enumerate(options)))
    heard = said(made, chat("x"), asked)
    for route in ("x", None):
        mine = [str(number) for number, each in enumerate(options) if each["when"] == route]
        of_route = [name for name in heard if name in mine]
        assert of_route == sorted(of_route)
    for number, each in enumerate(options):
        assert each["times"] is None or heard.count(str(number)) <= each["times"]
    assert "y" not in {options[int(name)]["when"] for name in heard if name != "-"}
    if any(each == {"when": None, "times": None} for each in options[-1:]):
        assert "-" not in heard
