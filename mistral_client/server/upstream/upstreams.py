"""The servers that run the models: which of them are well, and which one answers a request."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
import httpx

from mistral_client.async_client import MistralAsyncClient
from mistral_client.exceptions import MistralException
from mistral_client.models.models import ModelCard

from .. import errors
from ..admission import WAITING, Admission
from ..cards import ALIASES, Capabilities, Cards
from ..catalogue import Catalogue
from ..metrics import ModelMetrics
from .dialect import Dialect, context_length, spoken_by
from .failure import is_its_fault, is_outage, of_upstream

logger = logging.getLogger("mistral_client.server")

ResultT = TypeVar("ResultT")

RUNNING = 256
"""Requests for one model that are on their way at the same time."""

INTERVAL = 5.0
"""Seconds between two looks at whether a server is well."""

_CONSECUTIVE = 3
"""Failures without an answer in between, after which a server is left alone."""

_BANISHED = 10.0
_LONGEST = 300.0
"""Seconds for which it is left alone: the first time, and at most. Each time it is as much longer, as with Envoy."""

_CONNECT = 5.0
_SILENCE = 600.0
"""Seconds to connect, and to wait for an answer or the next of its chunks: long prompts queue for long."""

_UNKNOWN_CONTEXT = 32_768


class Upstream:
    """One server.

    url: with or without `/v1`. key: what it asks for, if it does.
    """

    def __init__(self, url: str, key: str | None = None, *, dialect: Dialect | None = None) -> None:
        """dialect: None for that of which the server's model cards speak.

        Raises `ConfigurationError` for what is no URL.
        """
        timeout = httpx.Timeout(_SILENCE, connect=_CONNECT)
        # A server without keys pays no attention to one.
        self.client = MistralAsyncClient(
            key or "none", url, max_retries=0, timeout=timeout, max_concurrent_requests=4 * RUNNING, trust_env=False
        )
        self.url = url
        self.cards: Mapping[str, ModelCard] = {}
        self.running = 0
        self.is_well = False
        """What the last look has shown."""
        self._dialect = dialect
        self._failures = 0
        self._banishments = 0
        self._banished_until = 0.0
        self._is_known_to_fail = False

    def dialect(self, model: str) -> Dialect:
        """What this server understands."""
        return self._dialect or spoken_by(self.cards[model])

    def can_answer(self, now: float) -> bool:
        """Whether it is well, as far as one knows."""
        return self.is_well and now >= self._banished_until

    def answered(self) -> None:
        """It did what it was asked for."""
        self._failures = self._banishments = 0

    def failed(self, now: float) -> None:
        """It did not."""
        self._failures += 1
        if self._failures >= _CONSECUTIVE:
            self._failures = 0
            self._banishments += 1
            self._banished_until = now + min(_LONGEST, _BANISHED * self._banishments)
            logger.warning("upstream %s failed %d times, and is left alone for a while", self.url, _CONSECUTIVE)

    async def look(self) -> None:
        """Ask for its models."""
        try:
            listed = await self.client.list_models(timeout=_CONNECT)
        except MistralException as error:
            if not self._is_known_to_fail:
                logger.warning("upstream %s is not well: %s", self.url, error)
            self.is_well, self._is_known_to_fail = False, True
        else:
            if self._is_known_to_fail:
                logger.warning("upstream %s is well again", self.url)
            self.is_well, self._is_known_to_fail = True, False
            self.cards = {card.id: card for card in listed.data}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model that upstreams run."""

    name: str
    cards: Cards
    admission: Admission
    metrics: ModelMetrics


@dataclass(slots=True)
class Asked(Generic[ResultT]):
    """What a server has come to with a request.

    failure: to be set where it fails later on.
    """

    result: ResultT
    failure: MistralException | None = None


class Upstreams(Catalogue[RemoteModel]):
    """The servers behind this one, and the models that they offer together.

    A request goes to the server with the fewest on their way, of those that are well; where it fails before anything
    has come of the answer, to another one.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        *,
        aliases: Mapping[str, str] | None = None,
        running: int = RUNNING,
        queue: int = WAITING,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """aliases: further names of models, name to model; None for those of Mistral's API, for the first model.
        running, queue: requests for one model that are on their way, and that wait; more are refused.
        interval: seconds between two looks at whether the servers are well.
        """
        super().__init__()
        self._upstreams = upstreams
        self._aliases = aliases
        self._running = running
        self._queue = queue
        self._interval = interval
        self._clock = clock

    @property
    def loaded(self) -> list[str]:
        """The models that some server answers for now."""
        now = self._clock()
        names = [model.name for model in self._models]
        return [name for name in names if any(each.can_answer(now) for each in self._having(name))]

    def offered(self, name: str) -> RemoteModel:
        """The model of this name. Raises the API's error for a name that leads nowhere, or as long as no server has
        answered.
        """
        if not self._models:
            raise errors.no_upstream()
        return super().offered(name)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            await self._look()
            tasks.start_soon(self._watch)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    for upstream in self._upstreams:
                        await upstream.client.close()

    @asynccontextmanager
    async def asking(
        self, model: RemoteModel, ask: Callable[[Upstream], Awaitable[ResultT]]
    ) -> AsyncIterator[Asked[ResultT]]:
        """What `ask` comes to with one of the servers, or, where it fails, with another one. Until the block is left
        the request counts as on its way there.

        Raises the API's error for the last failure.
        """
        failure: MistralException | None = None
        tried: list[Upstream] = []
        while (upstream := self._chosen(model.name, tried)) is not None:
            tried.append(upstream)
            with upstream.in_use():
                try:
                    asked = Asked(await ask(upstream))
                except MistralException as error:
                    failure = error
                    if is_outage(error):
                        upstream.failed(self._clock())
                    if not is_its_fault(error):
                        break
                else:
                    yield asked
                    if asked.failure is None:
                        upstream.answered()
                    elif is_outage(asked.failure):
                        upstream.failed(self._clock())
                    return
        raise errors.no_upstream() if failure is None else of_upstream(failure)

    def _chosen(self, model: str, tried: Sequence[Upstream]) -> Upstream | None:
        """Of those that are well the one with the least to do. If none is, any: it may have come back."""
        others = [each for each in self._having(model) if each not in tried]
        now = self._clock()
        able = [each for each in others if each.can_answer(now)]
        return min(able or others, key=lambda each: each.running, default=None)

    def _having(self, model: str) -> list[Upstream]:
        return [each for each in self._upstreams if model in each.cards]

    async def _watch(self) -> None:
        while True:
            await anyio.sleep(self._interval)
            await self._look()

    async def _look(self) -> None:
        async with anyio.create_task_group() as tasks:
            for upstream in self._upstreams:
                tasks.start_soon(upstream.look)
        for upstream in self._upstreams:
            for name, card in upstream.cards.items():
                if name not in (model.name for model in self._models):
                    self._offer(name, card)

    def _offer(self, name: str, card: ModelCard) -> None:
        if self._aliases is not None:
            aliases = [alias for alias, meant in self._aliases.items() if meant == name]
        else:
            aliases = [alias for alias in ALIASES if alias != name] if not self._models else []
        context = context_length(card) or _UNKNOWN_CONTEXT
        cards = Cards(name, f"{name}, run by another server", context, aliases, Capabilities())
        admission = Admission(self._running, self._queue)
        if self._ended:
            admission.close()
        metrics = self.metrics.of(name, lambda: admission.running, lambda: admission.waiting)
        self._add(RemoteModel(name, cards, admission, metrics), aliases)
