"""What goes wrong with an answer on its way: an answer as the steps of a server. Performs no I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, TypedDict

from mistral_client.exceptions import ArgumentError
from mistral_client.server import errors

from .answer import DONE, Answer, Break, Event, Step, Steps, choices, deltas, head


class Faults(TypedDict, total=False):
    """What goes wrong with an answer.

    delay: seconds before the first token; before everything, where the answer is no stream.
    pace: seconds between tokens.

    One of these, with the number of tokens that come before it. No stream is so short that it ends well before that.

    cut_after: the connection is closed. reset_after: it is reset. What is no stream breaks off in its body.
    malformed_after: an event that is no JSON. What is no stream is JSON that ends too early.
    error_after: an event that says that the server has failed. What is no stream is an error 500.

    done: false for a stream without `[DONE]`.
    """

    delay: float
    pace: float
    cut_after: int
    reset_after: int
    malformed_after: int
    error_after: int
    done: bool


_BREAKS = {"cut_after": Break.cut, "reset_after": Break.reset}
_ENDS = (*_BREAKS, "malformed_after", "error_after")


def check(faults: Faults) -> None:
    """Raises `ArgumentError` for what no answer can do."""
    given: Mapping[str, Any] = faults
    for name in ("delay", "pace"):
        seconds = given.get(name, 0)
        if not (isinstance(seconds, int | float) and 0 <= seconds < math.inf):
            raise ArgumentError(f"{name}: {seconds!r} is not a number of seconds")
    ends = [name for name in _ENDS if name in given]
    if len(ends) > 1:
        raise ArgumentError(f"{ends[0]} and {ends[1]}: an answer can break only once")
    for name in ends:
        if not (isinstance(given[name], int) and given[name] >= 0):
            raise ArgumentError(f"{name}: {given[name]!r} is not a number of tokens")


def steps(answer: Answer | Break, faults: Faults) -> Steps:
    """What a server does that gives this answer with these faults."""
    if isinstance(answer, Break):
        yield from _pause(faults.get("delay"))
        yield answer
    elif isinstance(answer.body, bytes):
        yield from _whole(answer, answer.body, faults)
    else:
        yield head(answer)
        with closing(answer.body):
            yield from _stream(answer.body, faults)


def _whole(answer: Answer, body: bytes, faults: Faults) -> Iterator[Step]:
    yield from _pause(faults.get("delay"))
    if "error_after" in faults:
        failed = errors.internal()
        answer, body = replace(answer, status=failed.status), failed.json().encode()
    if "malformed_after" in faults:
        body = body[: len(body) // 2]
    yield head(answer, len(body))
    for name, broken in _BREAKS.items():
        if name in faults:
            yield body[: len(body) // 2]
            yield broken
            return
    yield body


def _stream(events: Iterator[Event], faults: Faults) -> Iterator[Step]:
    given: Mapping[str, Any] = faults
    fault = next((name for name in _ENDS if name in given), None)
    tokens = 0
    for event in events:
        if event.data == DONE and not faults.get("done", True):
            continue
        token = _is_token(event)
        if token:
            yield from _pause(faults.get("pace") if tokens else faults.get("delay"))
        if fault is not None and (_is_end(event) or event.data == DONE or (token and tokens >= given[fault])):
            if fault in _BREAKS:
                yield _BREAKS[fault]
                return
            if fault == "error_after":
                yield Event(errors.internal().body, "error").encode()
                return
            yield Event(event.text[: len(event.text) // 2], event.type).encode()
            fault = None
        else:
            yield event.encode()
        tokens += token


def _pause(seconds: float | None) -> Iterator[Step]:
    if seconds:
        yield float(seconds)


def _is_token(event: Event) -> bool:
    """Whether an event says something: a text, a call of a tool, or that the answer has ended."""
    return any(delta.get("content") or delta.get("tool_calls") for delta in deltas(event)) or _is_end(event)


def _is_end(event: Event) -> bool:
    """Whether an answer ends with this event."""
    return any(choice.get("finish_reason") for choice in choices(event))
