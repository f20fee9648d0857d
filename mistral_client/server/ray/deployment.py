"""One model for each replica, behind Serve's proxies, with as many replicas as it takes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any, cast

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, model_validator
from ray import serve
from ray.serve.config import BackpressureConfig, RequestRouterConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..app import create_app
from ..guard import Guard
from ..keys import Keys
from ..loading import ModelSpec, load
from ..models import Models
from .export import export

_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
"""Serve's own. What a conversation is, it reads from a header that our proxy middleware writes."""

_BESIDE = 4
"""Requests at a replica beside those that its queue holds: for cards, metrics and health."""


_UPSCALE_DELAY = 10.0
"""Seconds of more requests than slots before there is another replica. Serve waits for thirty; a model is loaded in less."""


class Settings(BaseModel):
    """What a deployment is told; in `serve run` as `name=value`, in a config file below `args`.

    model: as for `mistral-client serve`; each node must have the file, or find it on the hub.
    context_length, slots, threads: of each replica.
    replicas: how many, or at least how many where there may be more. max_replicas: of autoscaling; None for none.
    queue: requests that wait in a replica. queued: requests that wait at a proxy for a replica; more are refused.
    cpus, gpus: that a replica takes of its node.
    grace: seconds that answers on their way are given when a replica is to end.
    key_digests: of the keys that callers must send, SHA-256 in hexadecimal; none lets everybody in who reaches the
        proxies. The keys themselves have no business in a cluster's configuration.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model: str | None = None
    context_length: int | None = Field(None, ge=1)
    slots: int = Field(4, ge=1)
    threads: int | None = Field(None, ge=1)
    replicas: int = Field(1, ge=1)
    max_replicas: int | None = Field(None, ge=1)
    queue: int = Field(4, ge=0)
    queued: int = Field(64, ge=0)
    cpus: float = Field(1, ge=0)
    gpus: float = Field(0, ge=0)
    grace: float = Field(30, ge=0)
    key_digests: list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _more_at_most_than_at_least(self) -> Settings:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError("max_replicas is less than replicas")
        return self


@serve.deployment(name="Mixtral")
@serve.ingress()
class Replica:
    """A model, loaded, and the application over it."""

    def __init__(self, settings: Settings) -> None:
        spec = ModelSpec(
            settings.model,
            context_length=settings.context_length,
            slots=settings.slots,
            threads=settings.threads,
        )
        self._models = Models([load(spec)], queue=settings.queue)
        self._guard = Guard(Keys(digests=settings.key_digests), None)
        self._exporting = asyncio.create_task(export(self._models.metrics))

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = create_app(models=self._models, guard=self._guard)
        app.add_middleware(Signed, name=serve.get_replica_context().replica_id.unique_id)
        return app

    async def __del__(self) -> None:
        """Serve calls it when the replica has answered what it had to, or its grace is over."""
        self._exporting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._exporting
        await asyncio.to_thread(self._models.close)


class Signed:
    """Middleware that writes on each answer which replica gave it."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        self._app = app
        self._header = (b"x-served-by", name.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], self._header]}
            await send(message)

        await self._app(scope, receive, signed)


def build(settings: Settings) -> serve.Application:
    """The application of Serve for these settings."""
    places = settings.slots + settings.queue
    told = cast("Any", Replica).options(
        max_ongoing_requests=places + _BESIDE,
        max_queued_requests=settings.queued,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        request_router_config=RequestRouterConfig(request_router_class=_ROUTER),
        graceful_shutdown_timeout_s=settings.grace,
        graceful_shutdown_wait_loop_s=0.2,
        health_check_period_s=2,
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
    )
    if settings.max_replicas is None:
        told = told.options(num_replicas=settings.replicas)
    else:
        scaling = {
            "min_replicas": settings.replicas,
            "max_replicas": settings.max_replicas,
            "target_ongoing_requests": settings.slots,
            "upscale_delay_s": _UPSCALE_DELAY,
        }
        told = told.options(num_replicas=None, autoscaling_config=scaling)
    return cast("serve.Application", told.bind(settings))
