"""What a request holds until its answer has been sent."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TypeVar

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

HeldT = TypeVar("HeldT")


class Held:
    """Middleware that lets go of what the routes took by `hold`, when all of the answer is sent or nobody wants it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            if scope["type"] == "http":
                scope.setdefault("state", {})["held"] = stack
            await self._app(scope, receive, send)


async def hold(request: Request, thing: AbstractAsyncContextManager[HeldT]) -> HeldT:
    """Enter a context that ends with the request."""
    stack: AsyncExitStack = request.state.held
    return await stack.enter_async_context(thing)
