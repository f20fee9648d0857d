"""The models of one server, and the names that lead to them: loaded when they are first used, unloaded when another one
needs their memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count

import anyio
from anyio import to_thread

from . import errors, memory
from .admission import WAITING, Admission
from .cards import ALIASES, Capabilities, Cards
from .catalogue import Catalogue
from .common_direction import CommonDirection
from .engine import EngineError, MemoryShortError
from .fim import fills_in
from .loading import Found, Loaded
from .metrics import Metrics
from .model import Model
from .prompt import prompt_format


class Models(Catalogue["Offered"]):
    """What a server offers that runs its models itself.

    The first model answers to those names of the real API that no other one claims, unless it has aliases of its own.

    A model that was only found is loaded for the first request that names it. Where memory is short for that, the one
    that was not asked for longest is unloaded, when its answers have ended. Requests for it that come in the meantime
    wait, and have it loaded again.

    All but `close` happens in one event loop.
    """

    def __init__(
        self, offered: Sequence[Loaded | Found], *, queue: int = WAITING, memory_limit: int | None = None
    ) -> None:
        """queue: requests that wait for a slot of a model. memory_limit: bytes that the models may take together; None
        for what is free when one is loaded.

        Raises `EngineError` for a name that is given twice, for a model that the limit can never hold, and for a loaded
        one whose prompts nobody here knows how to write.
        """
        super().__init__()
        self._limit = memory_limit
        self._loading = anyio.Lock()
        self._uses = count()
        claimed = [name for model in offered for name in (model.name, *(model.aliases or ()))]
        for name in claimed:
            if claimed.count(name) > 1:
                raise EngineError(f"two models are called {name}: give one of them another name")
        for position, model in enumerate(offered):
            unclaimed = tuple(name for name in ALIASES if name not in claimed) if not position else ()
            aliases = unclaimed if model.aliases is None else model.aliases
            added = Offered(model, aliases, queue, self.metrics)
            if memory_limit is not None and added.bytes > memory_limit:
                raise MemoryShortError(model.name, memory.shown(added.bytes), memory.shown(memory_limit))
            self._add(added, aliases)

    @property
    def loaded(self) -> list[str]:
        """The names of the models that are loaded now."""
        return [each.name for each in self._models if each.model is not None]

    @asynccontextmanager
    async def use(self, wanted: Offered) -> AsyncIterator[Model]:
        """A model, loaded, for as long as the block takes.

        Raises the API's error where the server ends, `EngineError` for a model that cannot be loaded,
        `MemoryShortError` where its memory cannot be had.
        """
        wanted.used = next(self._uses)
        while wanted.model is None or wanted.leaving:
            async with self._loading:
                if wanted.model is None and wanted.found is not None:
                    await self._load(wanted, wanted.found)
        with wanted.in_use():
            yield wanted.model

    def close(self) -> None:
        """Close what was loaded here or given loaded. What runs ends with an error. From any thread."""
        for each in self._models:
            if each.model is not None:
                each.model.engine.close()

    async def _load(self, wanted: Offered, found: Found) -> None:
        while (needed := wanted.bytes) > (free := self._free()):
            others = [each for each in self._models if each.model is not None and each.found is not None]
            if not others:
                raise MemoryShortError(wanted.name, memory.shown(needed), memory.shown(free))
            await self._unload(min(others, key=lambda each: each.used))
        if self._ended:
            raise errors.closing()
        with anyio.CancelScope(shield=True):  # who asked may leave, but what is loaded then must be known here
            await wanted.load(found)
            if self._ended and wanted.model is not None:
                await to_thread.run_sync(wanted.model.engine.close)
                raise errors.closing()

    async def _unload(self, other: Offered) -> None:
        other.leaving = True
        try:
            await other.idle.wait()
            with anyio.CancelScope(shield=True):
                await other.unload()
        finally:
            other.leaving = False

    def _free(self) -> int:
        free = memory.available()
        if self._limit is None:
            return free
        return min(free, self._limit - sum(each.bytes for each in self._models if each.model is not None))


class Offered:
    """A model that is offered, loaded or not."""

    def __init__(self, given: Loaded | Found, aliases: Sequence[str], queue: int, metrics: Metrics) -> None:
        self.found = given if isinstance(given, Found) else None
        """How it is loaded; None for what was given loaded, which stays so."""
        self.name = given.name
        self.bytes = 0 if self.found is None else self.found.needs.bytes
        if isinstance(given, Found):
            slots, context_length, capabilities = given.needs.slots, given.needs.context_length, given.capabilities
        else:
            slots, context_length = given.engine.slots, given.engine.context_length
            engine = given.engine
            writes = not engine.is_embedding_model
            capabilities = Capabilities(writes, engine.follows_grammars, writes and fills_in(engine.token_id))
        self.cards = Cards(given.name, given.description, context_length, aliases, capabilities)
        self.admission = Admission(slots, queue)
        self.metrics = metrics.of(given.name, lambda: self.admission.running, lambda: self.admission.waiting)
        self.model = None if isinstance(given, Found) else self._ready(given)
        self.used = -1
        """When it was last asked for."""
        self.leaving = False
        """It is about to be unloaded: who comes now must wait for it to be loaded again."""
        self.idle = anyio.Event()
        self.idle.set()
        self._users = 0

    async def load(self, found: Found) -> None:
        loaded = await to_thread.run_sync(found.load)
        try:
            self.model = self._ready(loaded)
        except BaseException:
            await to_thread.run_sync(loaded.engine.close)
            raise

    async def unload(self) -> None:
        model, self.model = self.model, None
        if model is not None:
            await to_thread.run_sync(model.engine.close)

    def _ready(self, loaded: Loaded) -> Model:
        engine = loaded.engine
        if engine.is_embedding_model:
            form, common = None, None
        else:
            form, common = prompt_format(engine.chat_template, engine.token_id), CommonDirection(engine)
        return Model(self.name, engine, form, self.cards, self.admission, self.metrics, loaded.max_tokens, common)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        if not self._users:
            self.idle = anyio.Event()
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self.idle.set()
