"""Bodies that are JSON to the letter."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from anyio.lowlevel import checkpoint
from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json

MAX_VALUES = 50_000
"""Values and names in a body. Reading so many takes the event loop some 50 ms, and they take some 10 MB of memory."""

_LARGE = 2**20

logger = logging.getLogger(__name__)


class StrictRequest(Request):
    """A request whose body holds no NaN, no half of a surrogate pair, no key twice and no nesting without end."""

    async def json(self) -> Any:
        """The body. Raises the error that is the answer to any other: 400 with the place that is wrong."""
        if not hasattr(self, "_value"):
            self._value = await self._read()
        return self._value

    def drop(self, path: Sequence[str | int]) -> bool:
        """Take a field out of the body; false where there is none at that path."""
        *steps, name = path
        node = self._value
        try:
            for step in steps:
                node = node[step]
            del node[name]
        except (LookupError, TypeError):
            return False
        return True

    async def _read(self) -> Any:
        try:
            body = await self.body()
            if _has_more_values(body, MAX_VALUES):
                raise HTTPException(400, f"The body holds more than {MAX_VALUES:,} values.")
            await _breathe(body)
            value = from_json(body, allow_inf_nan=False)
            await _breathe(body)
            json.loads(body, object_pairs_hook=_without_repetition)
        except ValueError as error:
            raise HTTPException(400, f"The body is not JSON: {error}") from None
        return value


async def _breathe(body: bytes) -> None:
    """Let others have their turn: a large body takes a tenth of a second to read."""
    if len(body) > _LARGE:
        await checkpoint()


def _has_more_values(body: bytes, most: int) -> bool:
    """Whether the brackets, commas and colons outside of strings are more. Linear, and without a look at each byte."""
    if _marks(body) <= most:
        return False
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return unescaped.count(b'"') > 2 * most or sum(map(_marks, unescaped.split(b'"')[::2])) > most


def _marks(text: bytes) -> int:
    return sum(text.count(mark) for mark in (b",", b":", b"[", b"{"))


def _without_repetition(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"the key {key!r} is there twice in one object")
        seen.add(key)


class StrictRoute(APIRoute):
    """A route whose requests are strict; an application that is lenient drops the fields that it does not know."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            try:
                return await handle(strict)
            except RequestValidationError as error:
                unknown = [issue["loc"][1:] for issue in error.errors() if issue["type"] == "extra_forbidden"]
                if not request.app.state.lenient or not unknown or not all(map(strict.drop, unknown)):
                    raise
            logger.warning(
                "fields that this server does not know were dropped: %r", [".".join(map(str, path)) for path in unknown]
            )
            return await handle(strict)

        return strict
