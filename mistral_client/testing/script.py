"""Which answer a request gets. Performs no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, cast

from mistral_client.exceptions import ArgumentError

from .answer import Answer, Break
from .faults import Faults, check
from .request import Request

When = str | re.Pattern[str] | Callable[[Request], bool]


class Routing(TypedDict, total=False):
    """Which requests an answer is for, and how many of them.

    when: a text that is part of `request.text`, a regular expression that is found in it, or a function of the request.
    model: the name that is asked for, or a regular expression that is found in it.
    times: so often and no more. Else an answer is given once where another one follows, and the last one always.
    """

    when: When | None
    model: str | re.Pattern[str] | None
    times: int | None


class Options(Routing, Faults, total=False):
    """What every answer takes by keyword."""


class Reply(Protocol):
    """A kind of answer."""

    def answers(self, request: Request) -> bool:
        """Whether requests to this path can be answered so."""

    def answer(self, request: Request) -> Answer | Break:
        """The answer to this request."""


@dataclass(slots=True)
class Scripted:
    """A reply with its place in the script."""

    reply: Reply
    options: Options
    given: int = 0

    @property
    def route(self) -> tuple[Any, Any]:
        """Replies with the same route follow each other."""
        return self.options.get("model"), self.options.get("when")

    @property
    def faults(self) -> Faults:
        """What goes wrong with it."""
        return cast("Faults", {name: value for name, value in self.options.items() if name in Faults.__optional_keys__})

    def __str__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"{self.reply}{options}"


class Script:
    """Replies in the order in which they were scripted.

    The first route that fits a request decides; replies for all requests come last. Of one route, each reply that can
    answer is given once, or so many times as it says, in their order; the last one is given again and again, unless it
    says how often.
    """

    def __init__(self) -> None:
        self._replies: list[Scripted] = []

    def add(self, reply: Reply, options: Options) -> None:
        """Raises `ArgumentError` for options that cannot be."""
        unknown = options.keys() - Options.__optional_keys__
        if unknown:
            raise ArgumentError(f"{min(unknown)}: there are only {', '.join(sorted(Options.__optional_keys__))}")
        options = cast("Options", {name: value for name, value in options.items() if value is not None})
        times = options.get("times")
        if times is not None and not times > 0:
            raise ArgumentError(f"times: {times!r} is not a number above 0")
        scripted = Scripted(reply, options)
        check(scripted.faults)
        self._replies.append(scripted)

    def next(self, request: Request) -> Scripted | None:
        """The reply to a request, which counts as given; None where none is left."""
        for route in self._routes():
            if not fits(request, *route):
                continue
            able = [each for each in self._replies if each.route == route and each.reply.answers(request)]
            chosen = next((each for each in able if each.given < (each.options.get("times") or 1)), None)
            if chosen is None and able and able[-1].options.get("times") is None:
                chosen = able[-1]
            if chosen is not None:
                chosen.given += 1
                return chosen
        return None

    def _routes(self) -> Iterator[tuple[Any, Any]]:
        seen: list[tuple[Any, Any]] = [(None, None)]
        for each in self._replies:
            if each.route not in seen:
                seen.append(each.route)
                yield each.route
        yield None, None

    def __str__(self) -> str:
        return "\n".join(f"  {each}" for each in self._replies) or "  nothing"


def fits(request: Request, model: str | re.Pattern[str] | None = None, when: When | None = None) -> bool:
    """Whether a request is one of those."""
    if isinstance(model, re.Pattern):
        named = model.search(request.model or "") is not None
    else:
        named = model is None or model == request.model
    if not named or when is None:
        return named
    if isinstance(when, str):
        return when in request.text
    return when.search(request.text) is not None if isinstance(when, re.Pattern) else bool(when(request))
