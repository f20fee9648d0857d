"""What a server offers: its models by all their names, and who gets a place with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from . import errors
from .admission import Admission
from .cards import Cards
from .errors import WireError
from .metrics import Metrics, ModelMetrics


class Entry(Protocol):
    """A model that is offered."""

    @property
    def name(self) -> str: ...
    @property
    def cards(self) -> Cards: ...
    @property
    def admission(self) -> Admission: ...
    @property
    def metrics(self) -> ModelMetrics: ...


EntryT = TypeVar("EntryT", bound=Entry)


class Catalogue(Generic[EntryT]):
    """Models by name. All but `close` happens in one event loop."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._models: list[EntryT] = []
        self._named: dict[str, EntryT] = {}
        self._ended = False

    @property
    def name(self) -> str:
        """That of the first model. Raises the API's error where there is none yet."""
        if not self._models:
            raise errors.not_ready()
        return self._models[0].name

    @property
    def loaded(self) -> list[str]:
        """The names of the models that can answer at once."""
        return [each.name for each in self._models]

    def cards(self) -> list[dict[str, Any]]:
        """Those of all names."""
        return [card for name, each in self._named.items() if (card := each.cards.get(name)) is not None]

    def card(self, name: str) -> dict[str, Any] | None:
        """The one of this name."""
        return self._named[name].cards.get(name) if name in self._named else None

    def offered(self, name: str) -> EntryT:
        """The model of this name. Raises the API's error for a name that leads nowhere."""
        if name not in self._named:
            raise errors.invalid_model(name)
        return self._named[name]

    def crowded(self, key: str) -> WireError | None:
        """Why a client gets no place, whatever it asks for; None if there is one with some model."""
        # Not caught from `enter`: an error that was raised and kept holds its frames, and they it, until the garbage
        # collector finds them. For a thousand of them that takes 45 ms.
        refusal = None
        for each in self._models:
            refused = each.admission.refusal(key)
            if refused is None:
                return None
            refusal = refusal or refused
        if refusal is not None:
            self.rejected(None, refusal)
        return refusal

    def rejected(self, name: str | None, refusal: WireError) -> None:
        """Count a request that was turned away; without a name that leads somewhere it is the first model's."""
        blamed = self._named.get(name or "") or next(iter(self._models), None)
        if blamed is not None:
            blamed.metrics.rejected(str(refusal.body["code"]))

    def refuse(self) -> None:
        """Turn away all who wait for a slot, and all who come from now on."""
        self._ended = True
        for each in self._models:
            each.admission.close()

    def close(self) -> None:
        """Give back what the models hold. What runs ends with an error. From any thread."""

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """For as long as the server runs."""
        yield

    def _add(self, model: EntryT, aliases: Sequence[str]) -> None:
        self._models.append(model)
        self._named |= dict.fromkeys((model.name, *aliases), model)
