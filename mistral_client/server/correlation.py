"""Every exchange has a name, and what nobody expected is a 500 that gives nothing away."""

from __future__ import annotations

import logging
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import errors

logger = logging.getLogger(__name__)


class Correlation:
    """Middleware that puts `mistral-correlation-id` on every answer, and logs what failed under it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation = str(uuid.uuid4())
        scope.setdefault("state", {})["correlation_id"] = correlation
        started = False

        async def named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"mistral-correlation-id", correlation.encode())]
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception:
            logger.exception("request %s failed", correlation)
            if started:
                raise
            await errors.internal().response()(scope, receive, named)
