"""Two nodes of Ray on this machine, and two replicas of the baby Mixtral."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mistral_client import MistralClient
from mistral_client.server.ray.proxy import CALLBACK, PATH

os.environ[CALLBACK] = PATH
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Else the replicas give way to whatever else this machine does.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray spells it so

import ray
from ray import serve
from ray.cluster_utils import Cluster

from mistral_client.server.ray import Settings, build

APP = "mistral"
STORE = 100_000_000
"""Bytes of each node's object store, of which nothing here has any use."""


class Deployed:
    """The cluster with what is deployed on it."""

    def __init__(self, cluster: Cluster, model: Path, port: int) -> None:
        self.cluster = cluster
        self.url = f"http://127.0.0.1:{port}"
        self._deployed: Settings | None = None
        self._usual: dict[str, Any] = {
            "model": str(model),
            "context_length": 2048,
            "slots": 2,
            "threads": 1,
            "queue": 4,
            "cpus": 0.4,
            "replicas": 2,
            "grace": 20,
        }

    def deploy(self, **told: Any) -> None:
        """Deploy, or deploy once more, with these settings beside the usual ones."""
        settings = Settings(**{**self._usual, **told})
        if settings != self._deployed:
            serve.run(build(settings), name=APP)
            self._deployed = settings

    def delete(self) -> None:
        """Take it away."""
        serve.delete(APP)
        self._deployed = None

    def replicas(self) -> list[str]:
        """The names of the replicas that are there."""
        found = ray.util.list_named_actors(all_namespaces=True)
        return sorted(each["name"] for each in found if each["name"].startswith(f"SERVE_REPLICA::{APP}#"))

    def kill(self, replica: str) -> None:
        """End a replica as a crash would."""
        ray.kill(ray.get_actor(replica, namespace="serve"))

    def settled(self, replicas: int = 2) -> None:
        """Wait until so many replicas run and nothing is on its way."""
        until(lambda: self._running() == replicas and len(self.replicas()) == replicas)

    def _running(self) -> int:
        application = serve.status().applications[APP]
        states = application.deployments["Mixtral"].replica_states
        return states.get("RUNNING", 0) if set(states) <= {"RUNNING"} else 0

    def client(self, **options: Any) -> MistralClient:
        return MistralClient(endpoint=self.url, **options)


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    """Wait for it; what it takes depends on Ray's own periods."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)


def messages(text: str) -> list[dict[str, str]]:
    """A conversation; each text is one of its own, and goes to the replica that its beginning leads to."""
    return [{"role": "user", "content": text}]


@contextlib.contextmanager
def running(model: Path) -> Iterator[Deployed]:
    """The cluster, with nothing deployed yet, for as long as the block takes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE},
    )
    nodes.add_node(num_cpus=1, object_store_memory=STORE)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "WARNING"})
        yield Deployed(nodes, model, port)
    finally:
        serve.shutdown()
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(scope="session")
def cluster(baby: Path) -> Iterator[Deployed]:
    with running(baby) as found:
        yield found


@pytest.fixture
def deployed(cluster: Deployed) -> Deployed:
    """Two replicas that run, whatever an earlier test has done to them."""
    cluster.deploy()
    cluster.settled()
    return cluster
