"""What every client must be able to do with the server; runs in the client's own environment, with nothing else.

A driver has a function for each line of the contract and hands them to `check`, which prints how each ended as JSON:
true, the reason why the client has no such thing, or what went wrong.
"""

import asyncio
import json
import os
import re
import sys
import traceback

URL = os.environ["COMPAT_URL"]
KEY = os.environ["COMPAT_KEY"]
MODEL = "mistral-small"
EMBEDDER = "mistral-embed"
WRONG_KEY = "not-a-key-of-this-server"
NOBODY = "no-such-model"

QUESTION = "What is the capital of France?"
MESSAGES = [{"role": "user", "content": QUESTION}]
TOKENS = 12
TEXTS = ["The cat sleeps.", "Le chat dort.", "Rates went up."]

CITY = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}}, "required": ["city"]}
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather of a city.", "parameters": CITY},
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}, "large": {"type": "boolean"}},
    "required": ["city", "large"],
    "additionalProperties": False,
}
WEATHER = "22 degrees and sunny"


class NotOffered(Exception):
    """The client has no such thing; the message says why."""


def check(**lines):
    """Run the lines of the contract, all of them or those named on the command line, and print the outcome."""
    outcome = {}
    for name, line in lines.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        try:
            result = line()
            if asyncio.iscoroutine(result):
                asyncio.run(result)
            outcome[name] = {"ok": True}
        except NotOffered as reason:
            outcome[name] = {"not_offered": str(reason)}
        except Exception as error:  # noqa: BLE001  # every line has an outcome
            traceback.print_exc()
            outcome[name] = {"failed": f"{type(error).__name__}: {error}"[:500]}
    print("\nOUTCOME " + json.dumps(outcome))


def expect(kinds, call, *texts, status=None):
    """The call must end with one of the client's own errors, with the server's words in it."""
    try:
        call()
    except kinds as error:
        mistaken(error, texts, status)
    else:
        raise AssertionError("no error")


async def expect_async(kinds, awaitable, *texts, status=None):
    """The same for a coroutine."""
    try:
        await awaitable
    except kinds as error:
        mistaken(error, texts, status)
    else:
        raise AssertionError("no error")


def mistaken(error, texts, status):
    said = f"{error} {getattr(error, 'body', '')}"
    for text in texts:
        assert text in said, f"{text!r} is not in {said!r}"
    if status is not None:
        found = [getattr(error, name, None) for name in ("status_code", "http_status")]
        assert status in found or str(status) in said, f"not {status}: {said!r}"


def listed(names):
    names = list(names)
    assert MODEL in names, names
    assert EMBEDDER in names, names


def answered(text, reason="stop"):
    assert isinstance(text, str), text
    assert text.strip(), "an empty answer"
    assert reason in {"stop", "length"}, reason


def streamed(texts, reasons, tokens=None):
    """Several pieces, one finish reason, at the end."""
    assert len([text for text in texts if text]) > 1, texts
    assert [reason for reason in reasons if reason] in (["stop"], ["length"]), reasons
    if tokens is not None:
        assert tokens > 0


def embedded(vectors):
    assert len(vectors) == len(TEXTS)
    for vector in vectors:
        assert len(vector) == 1024, len(vector)
        norm = sum(value * value for value in vector)
        assert abs(norm - 1) < 1e-3, norm


def called(call_id, name, arguments):
    """One call of the tool: its id has 9 characters, its arguments fit the schema. Returns the arguments."""
    assert re.fullmatch("[A-Za-z0-9]{9}", call_id), call_id
    assert name == "get_weather", name
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert set(arguments) == {"city"}, arguments
    assert arguments["city"] in {"Paris", "Rome"}, arguments
    return arguments


def followed(text):
    """JSON that follows SCHEMA."""
    answer = json.loads(text) if isinstance(text, str) else text
    assert set(answer) == {"city", "large"}, answer
    assert answer["city"] in {"Paris", "Rome"}, answer
    assert isinstance(answer["large"], bool), answer
