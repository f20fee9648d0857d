"""Writes the tables and plots of docs/scale.md: python -m tests.cluster scale [computed] [measured] [simulated].

`computed` takes no time, `measured` some ten minutes of a cluster on this machine, `simulated` some minutes.
"""

from __future__ import annotations

import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from mistral_client.server.weights import default_model
from mistral_client.server.weights.baby import write_gguf
from tests import marks

from . import scale_page, scale_plots, validation
from .day import Bin, Plan, simulate
from .traffic import DAY, Burst, Traffic, bursts

MEASURED = Path(__file__).with_name("measured.json")
"""What proxies cost, for the tables that are computed from it."""

SLOTS, QUEUE = 2, 4

PLAN = Plan(scale_page.FLEET, slots=256)
BURSTS = bursts(random.Random(4))
TRAFFIC = Traffic(mean=8.0, bursts=BURSTS)
SHARE, REPLICAS = 10, 10_000
EVERY = 300.0


def main() -> int:
    parts = sys.argv[1:] or ["computed", "measured", "simulated"]
    if "measured" in parts:
        _measured()
    if "computed" in parts or "measured" in parts:
        told = json.loads(MEASURED.read_text(encoding="utf-8"))
        marks.fill(scale_page.PAGE, {**scale_page.computed(told), "proxies": scale_page.proxies(told)})
    if "simulated" in parts:
        _simulated()
    return 0


def _measured() -> None:
    from .proxies import costs, ring_seconds
    from .two_nodes import running

    with tempfile.TemporaryDirectory() as folder, running(write_gguf(Path(folder) / "baby.gguf")) as cluster:
        cluster.deploy()
        cluster.settled()
        spent = costs(cluster.url)
        ring = ring_seconds(10_000) / 10_000
        told = {"proxy_request": spent.request, "proxy_chunk": spent.chunk, "ring_replica": ring}
        print(told, flush=True)
        cluster.deploy(model=str(default_model()), slots=SLOTS, queue=QUEUE, queued=256)
        cluster.settled()
        found = validation.measure(cluster.url, SLOTS, QUEUE, rounds=4)
    print(*found, sep="\n")
    MEASURED.write_text(json.dumps({name: float(f"{value:.3g}") for name, value in told.items()}, indent=2) + "\n")
    marks.fill(scale_page.PAGE, {"machine": _machine(), "validation": scale_page.validation(found)})
    scale_plots.validation(found)


def _machine() -> Iterator[str]:
    yield (
        f"Measured on {os.cpu_count()} cores of {platform.machine()} with a load average of {os.getloadavg()[2]:.0f}, "
        f"CPython {platform.python_version()}, Ray {version('ray')}: two nodes on one machine, two replicas of the default "
        f"Mixtral with {SLOTS} slots, a queue of {QUEUE} and one thread each."
    )


def _simulated() -> None:
    begun = time.monotonic()
    # An hour and a half about the peak, with a burst.
    peak = Traffic(mean=TRAFFIC.mean, bursts=(Burst(15.25 * 3600, 600, 1.5),))
    about = (14.5 * 3600, 16.0 * 3600)
    sizes = (5, 10, 20, 40)
    rates = (8.0, 11.0, 12.5, 14.0)
    with ProcessPoolExecutor(2) as pool:
        day = pool.submit(simulate, PLAN, TRAFFIC, SHARE, 1)
        cells = {size: pool.submit(simulate, PLAN, peak, size, size, *about) for size in sizes}
        routed = {
            (rate, sticky): pool.submit(
                simulate,
                replace(PLAN, sticky=sticky),
                Traffic(mean=rate, swing=0.0),
                10,
                1,
                0.0,
                1800.0,
            )
            for rate in rates
            for sticky in (True, False)
        }
        whole = day.result()
        rows = {
            "day": [["the day", *scale_page.seen(whole, DAY, SHARE)]],
            "cells": [
                [f"{size}", *scale_page.seen(found.result(), about[1] - about[0], size)]
                for size, found in cells.items()
            ],
            "routing": [
                [
                    f"{rate:g}",
                    "by conversation" if sticky else "two choices",
                    *scale_page.seen(_late(found.result()), 1200, 10),
                ]
                for (rate, sticky), found in routed.items()
            ],
        }
    seconds = time.monotonic() - begun
    heads = {"day": [""], "cells": ["replicas of the cell"], "routing": ["requests/s asked", "router"]}
    marks.fill(
        scale_page.PAGE,
        {
            "traffic": scale_page.traffic(TRAFFIC, BURSTS),
            "burst": _burst(),
            **{name: marks.table([*heads[name], *scale_page.SEEN], found) for name, found in rows.items()},
            "effort": [
                f"All of this took {seconds / 60:.0f} minutes here; the day alone had {_count(whole):,} requests."
            ],
        },
    )
    scale_plots.day(whole, EVERY, SHARE, REPLICAS)


def _burst() -> Iterator[str]:
    """The one that comes when there is much anyway, minute by minute."""
    burst = BURSTS[3]
    end = burst.begin + burst.seconds
    runs = {
        queue: simulate(replace(PLAN, queue=queue), TRAFFIC, SHARE, 1, end - 1800, end + 1800, 60.0)
        for queue in (PLAN.queue, 8)
    }
    return scale_page.after(runs, (-15, -5, -1, 2, 5, 10, 15, 20, 25), 30)


def _late(bins: list[Bin]) -> list[Bin]:
    """Without the first ten minutes, in which a fleet fills."""
    return bins[2:]


def _count(bins: list[Bin]) -> int:
    return sum(each.arrived for each in bins)


if __name__ == "__main__":
    sys.exit(main())
