"""How a full server refuses, and how it is meanwhile: python -m tests.bench.load, with --real for the default Mixtral."""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Sequence

from tests.server.process import Process, Watch, answer, burst, full, request

SLOTS = QUEUE = 4


def refusals(server: Process, count: int, *, kept: bool) -> list[float]:
    """Seconds of refusals one after another, each by a connection of its own or all by one."""
    times = []
    connection = server.connect()
    for _ in range(count):
        begun = time.perf_counter()
        if not kept:
            connection.close()
            connection = server.connect()
        connection.sendall(request("hello"))
        received = answer(connection)
        times.append(time.perf_counter() - begun)
        assert received.startswith(b"HTTP/1.1 429 "), received[:100]
        time.sleep(0.01)
    connection.close()
    return times


def shown(name: str, times: Sequence[float]) -> None:
    """One line of figures, in milliseconds."""
    times = sorted(times)
    at = [f"{times[min(int(len(times) * part), len(times) - 1)] * 1000:8.2f}" for part in (0.5, 0.9, 0.99, 1)]
    print(f"{name:45} n={len(times):5} p50 {at[0]}  p90 {at[1]}  p99 {at[2]}  max {at[3]} ms")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.2f}")
    server = Process("--queue", QUEUE, "--slots", SLOTS, real=arguments.real)
    try:
        # Some minutes' work, for either engine.
        with full(server, request("forever and ever, tell me of kings and their castles", n=8), SLOTS + QUEUE):
            for kept in (False, True):
                shown(f"refused one after another, kept={kept}", refusals(server, 300, kept=kept))
            for calls in (100, 1000):
                for kept in (True, False):
                    seconds, statuses, before = [], Counter(), server.cpu
                    begun = time.perf_counter()
                    with Watch(server.address, kept=kept) as watch:
                        for _ in range(arguments.rounds):
                            done = burst(server.address, request("hello"), calls)
                            statuses.update(call.status for call in done)
                            seconds += [call.seconds for call in done]
                    took, used = time.perf_counter() - begun, server.cpu - before
                    shown(f"{calls} at once", seconds)
                    shown(f"/health beside them, kept={kept}", watch.times)
                    print(f"  {dict(statuses)} in {took:.1f} s, of which the server computed {used:.1f} s")
    finally:
        assert server.end() == 0
    print(f"load average {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
