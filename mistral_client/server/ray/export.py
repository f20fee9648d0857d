"""The server's metrics among Ray's own, for each replica."""

from __future__ import annotations

import asyncio

from ray.serve.metrics import Gauge

from ..metrics import Metrics

_EVERY = 5.0
"""Seconds; Ray itself reports every ten."""


async def export(metrics: Metrics) -> None:
    """Copy them, again and again. Ray adds the replica, the deployment and the application."""
    gauges: dict[str, Gauge] = {}
    while True:
        for name, labels, value in metrics.samples():
            if name not in gauges:
                gauges[name] = Gauge(name.replace(":", "_"), name, tag_keys=tuple(labels))
            gauges[name].set(value, tags=dict(labels))
        await asyncio.sleep(_EVERY)
