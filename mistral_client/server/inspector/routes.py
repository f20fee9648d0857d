"""The inspector's routes: its page, and what the page asks for. None is in the schema."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from mistral_client._sse import encode_event
from mistral_client.server import errors
from mistral_client.server.connection import while_connected

from . import shown
from .calls import Inspector
from .gate import gate, own_page
from .page import HEADERS, PAGES
from .recorder import PREFIX
from .spelled import prompt_of

_PRIVATE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def routes(inspector: Inspector) -> APIRouter:
    """What leads to the inspector."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(gate)])
    for path in PAGES:
        router.get(path)(_file)
    data = APIRouter(prefix=PREFIX.rstrip("/"), include_in_schema=False, dependencies=[Depends(own_page)])

    @data.get("/events")
    async def events() -> Response:
        """Lines of calls, as there is something new of them, until the page is closed."""
        return _News(inspector)

    @data.get("/calls/{number}")
    async def call(number: int, request: Request, after: int = 0) -> Response:
        """One call in full, or what is new since it had so many pieces."""
        found = inspector.find(number)
        if found is None:
            raise errors.WireError(404, "not_found", None, f"The call {number} is not kept any more.")
        if after > 0:
            body = shown.more(found, after)
        else:
            body = shown.whole(found, await prompt_of(found, request.app.state.models))
        return Response(body, media_type="application/json", headers=_PRIVATE)

    @data.delete("/calls")
    async def clear() -> dict[str, Any]:
        """Forget all calls."""
        inspector.clear()
        return {}

    router.include_router(data)
    return router


async def _file(request: Request) -> Response:
    body, media_type = PAGES[request.scope["path"]]
    return Response(body, media_type=media_type, headers=HEADERS)


class _News(Response):
    media_type = "text/event-stream"

    def __init__(self, inspector: Inspector) -> None:
        super().__init__(headers=_PRIVATE)
        del self.headers["content-length"]
        self._inspector = inspector

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        async def run() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with aclosing(self._inspector.follow()) as news:
                async for calls in news:
                    told = to_json({"oldest": self._inspector.oldest, "calls": [shown.line(call) for call in calls]})
                    await send({"type": "http.response.body", "body": encode_event(told.decode()), "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        await while_connected(receive, run)
