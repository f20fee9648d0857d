"""Work that takes more than one call, without I/O.

A flow is a generator in the manner of `_exchange`: it yields what to do next, a `Call`, some of them `Together`, or a
function of the user's to `Run`, and is sent what came of it; what failed is raised where it was yielded. A client only
performs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ._calls import AnswerT, Call

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Together(Generic[AnswerT]):
    """Calls that are made at the same time, taken from their iterator as they can be begun.

    at_most: how many at a time.
    done: told of each answer as it comes, with the place of its call, in the thread or task that follows the flow.

    Comes to None. The first call that fails ends it: no further one begins, those that run are given up or waited for.
    """

    calls: Iterable[Call[AnswerT]]
    at_most: int
    done: Callable[[int, AnswerT], object]


@dataclass(frozen=True, slots=True)
class Run:
    """A function of the user's, called with keyword arguments; comes to what it returns.

    An asynchronous client awaits what is awaitable, and calls plain functions in a worker thread.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]


Flow = Generator[Call[Any] | Together[Any] | Run, Any, ResultT]
