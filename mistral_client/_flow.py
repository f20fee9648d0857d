"""Work that takes more than one call, without I/O.

A flow is a generator in the manner of `_exchange`: it yields what to do next, a `Call`, other flows to follow
`Together`, or a function of the user's to `Run`, and is sent what came of it; what failed is raised where it was
yielded. A client only performs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ._calls import Call

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Together(Generic[ResultT]):
    """Flows that are followed at the same time, taken from their iterator as they can be begun.

    at_most: how many at a time.
    done: told of each result as it comes, with the place of its flow, in the thread or task that follows the flow
        which yielded this.

    Comes to None. The first flow that fails ends it, and its error is the one that is raised: no further flow, request
    or wait begins. What runs is cancelled by an asynchronous client; a synchronous one waits for the requests that are
    under way, and `done` is told of those that succeed.
    """

    flows: Iterable[Flow[ResultT]]
    at_most: int
    done: Callable[[int, ResultT], object]


@dataclass(frozen=True, slots=True)
class Run:
    """A function of the user's, called with keyword arguments; comes to what it returns.

    An asynchronous client awaits what is awaitable, and calls plain functions in a worker thread.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]


Flow = Generator[Call[Any] | Together[Any] | Run, Any, ResultT]
