"""`mistral-client deploy`"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import click

from .failure import Failure
from .server_keys import server_keys


@click.command(
    epilog="""Without --address a cluster of this machine alone is started, and ends with the command: Ctrl-C or
    SIGTERM ends both when the answers on their way are given, or their grace is over.

    \b
    Examples:
      mistral-client deploy --replicas 2
      mistral-client deploy --address auto --replicas 2 --max-replicas 8 --model mixtral-8x7b-instruct.Q4_K_M.gguf
    """
)
@click.option("--address", metavar="ADDRESS", help="Cluster to deploy on, such as auto or ray://head:10001.")
@click.option("-m", "--model", metavar="MODEL", help="As for serve; each node must have it. Else the default Mixtral.")
@click.option("--replicas", type=click.IntRange(min=1), default=1, show_default=True, metavar="N")
@click.option(
    "--max-replicas",
    type=click.IntRange(min=1),
    metavar="N",
    help="Up to so many, by the requests that are on their way.",
)
@click.option("--cpus", type=click.FloatRange(min=0), default=1, show_default=True, help="Of its node, for a replica.")
@click.option("--gpus", type=click.FloatRange(min=0), default=0, show_default=True, help="Likewise.")
@click.option("--context-length", type=click.IntRange(min=1), metavar="TOKENS", help="Of prompt and answer together.")
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    metavar="N",
    help="Answers of a replica at once.",
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads that compute, in each replica.")
@click.option(
    "--queue",
    type=click.IntRange(min=0),
    default=64,
    show_default=True,
    metavar="N",
    help="Requests that wait for a replica, at each proxy; more are refused with 429.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="What answers on their way are given when a replica ends.",
)
@click.option("--api-key-file", metavar="FILE", help="File with a key a line, which callers must send.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the proxies.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
def deploy(
    address: str | None,
    host: str,
    port: int,
    api_key_file: str | None,
    queue: int,
    **told: Any,
) -> None:
    """Deploy the server on Ray Serve, with a model for each replica.

    A deployment that is there is replaced, replica by replica, and no call is lost.
    """
    try:
        import ray
        from pydantic import ValidationError
        from ray import serve

        from mistral_client.server.ray import Settings, build
        from mistral_client.server.ray.proxy import CALLBACK, PATH
    except ImportError as error:
        raise Failure(f"deploy needs Ray: pip install 'mistral-client[ray]' ({error})") from error
    keys = server_keys((), api_key_file)
    if host != "127.0.0.1" and not keys:
        raise Failure(f"host {host!r} is not 127.0.0.1: there it needs a key, --api-key-file")
    given = {name: value for name, value in told.items() if value is not None}
    try:
        settings = Settings(**given, queued=queue, key_digests=keys.digests)
    except ValidationError as error:
        raise Failure(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None
    ended = threading.Event()
    # The processes of a cluster that starts here inherit it.
    os.environ.setdefault(CALLBACK, PATH)
    try:
        ray.init(address=address, include_dashboard=None if address else False, logging_level="WARNING")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        serve.start(http_options={"host": host, "port": port})
        serve.run(build(settings), name="mistral")
        click.echo(f"Deployed. To use it:\n  export MISTRAL_ENDPOINT=http://{host}:{port}", err=True)
        if address is None:
            ended.wait()
            serve.delete("mistral")
            serve.shutdown()
    except (RuntimeError, ConnectionError) as error:
        raise Failure(str(error)) from error
    finally:
        ray.shutdown()
