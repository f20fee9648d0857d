"""What Serve's proxies cost: CPU time for a request and for a chunk of a stream, and for a ring of many replicas."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace

import psutil
from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

from .load import closed_loop
from .measurement import Prompts

_REQUESTS, _STREAMS, _CHUNKS = 200, 10, 500


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds of a proxy's process."""

    request: float
    chunk: float


def costs(url: str) -> Costs:
    """Measure with short answers, then with long ones, of a model that is faster than the proxy."""
    prompts = Prompts(5)

    def spent(calls: int, answer: int) -> float:
        before = _cpu_seconds()
        done = closed_loop(
            url, [[prompts.one(session, answer=answer) for _ in range(calls // 2)] for session in range(2)]
        )
        assert all(call.answered for call in done)
        return _cpu_seconds() - before

    spent(20, 2)
    request = spent(_REQUESTS, 2) / _REQUESTS
    chunk = (spent(_STREAMS, _CHUNKS) / _STREAMS - request) / (_CHUNKS - 2)
    return Costs(request, chunk)


def _cpu_seconds() -> float:
    mine = psutil.Process().children(recursive=True)
    found = [process.cpu_times() for process in mine if "ProxyActor" in " ".join(process.cmdline())]
    if not found:
        raise RuntimeError("there is no proxy among this process's children")
    return sum(times.user + times.system for times in found)


def ring_seconds(replicas: int) -> float:
    """In which Serve's router builds its ring, which each router does when a replica comes or goes."""
    router = ConsistentHashRouter.__new__(ConsistentHashRouter)
    router._num_virtual_nodes = 100
    router._deployment_id = "measured"
    there = frozenset(_Replica(unique_id=f"replica-{number}") for number in range(replicas))
    begun = time.process_time()
    router._rebuild_ring(there)
    return time.process_time() - begun


class _Replica(SimpleNamespace):
    """What the ring asks of a replica's id."""

    def __hash__(self) -> int:
        return hash(self.unique_id)
