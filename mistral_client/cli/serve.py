"""`mistral-client serve`"""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from .completion import files
from .failure import Failure
from .served_models import described
from .served_upstreams import upstreams_of
from .termination import terminated

if TYPE_CHECKING:
    from mistral_client.server.catalogue import Catalogue


@click.command(
    epilog="""Ctrl-C or SIGTERM ends it, with exit code 0; while the model still loads, with 130 or 143.

    \b
    Examples:
      mistral-client serve
      mistral-client serve --model mixtral-8x7b-instruct.Q4_K_M.gguf --port 8080
      mistral-client serve --upstream http://gpu-1:8000/v1 --upstream http://gpu-2:8000/v1
      MISTRAL_ENDPOINT=http://127.0.0.1:8000 mistral-client chat "Hello!"
    """
)
@click.option(
    "-m",
    "--model",
    "models",
    metavar="MODEL",
    multiple=True,
    shell_complete=files,
    help="Model to serve, a GGUF file, the folder of a checkpoint or hf:OWNER/REPO[:FILE]; else the default Mixtral. "
    "Of several, which may be named by repeating the option, each is loaded when it is first used.",
)
@click.option(
    "--embedding-model", metavar="MODEL", shell_complete=files, help="Another one that answers to mistral-embed."
)
@click.option(
    "--alias",
    "aliases",
    metavar="NAME=MODEL",
    multiple=True,
    help="A further name for a model, as it was named with --model; may be repeated. The first model has the names of "
    "Mistral's API unless it is given others.",
)
@click.option(
    "--models",
    "models_file",
    metavar="FILE.toml",
    shell_complete=files,
    help="File that describes the models, in place of these.",
)
@click.option(
    "--upstream",
    "upstreams",
    metavar="URL",
    multiple=True,
    help="Server that runs the models, in place of this one: vLLM, SGLang, llama-server, or another one that speaks "
    "OpenAI's wire. May be repeated: requests go to the one with the least to do.",
)
@click.option(
    "--upstream-key",
    metavar="KEY",
    help="What it asks for; better in the environment, as MISTRAL_UPSTREAM_KEY.",
)
@click.option(
    "--upstream-dialect",
    metavar="NAME",
    help="vllm, sglang, llama.cpp or openai; else as its model cards tell.",
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB",
    help="What the models may take together; else what is free when one is loaded.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; one that is not loopback needs a key."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--context-length", type=click.IntRange(min=1), metavar="TOKENS", help="Of prompt and answer together.")
@click.option("--slots", type=click.IntRange(min=1), metavar="N", help="Answers at the same time.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads that compute.")
@click.option(
    "--api-key",
    "api_keys",
    metavar="KEY",
    multiple=True,
    help="Key that callers must send; may be repeated. Others on this machine can see it: better in the environment, "
    "as MISTRAL_SERVER_API_KEYS with commas in between, or in a file.",
)
@click.option(
    "--api-key-file", metavar="FILE", shell_complete=files, help="File with a key a line; # begins a comment."
)
@click.option(
    "--cors-origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="Web pages that may call from a browser, such as https://example.org; may be repeated. Else none may.",
)
@click.option(
    "--max-body",
    type=click.IntRange(min=1),
    default=8 * 2**20,
    show_default=True,
    metavar="BYTES",
    help="Largest body of a request.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=3,
    show_default=True,
    metavar="SECONDS",
    help="What answers on their way are given when the server is told to end.",
)
@click.option(
    "--queue",
    type=click.IntRange(min=0),
    default=64,
    show_default=True,
    metavar="N",
    help="Requests that wait for a slot; more are refused with 429.",
)
@click.option("--requests-per-minute", type=click.IntRange(min=1), metavar="N", help="Of each key; else no limit.")
@click.option("--tokens-per-minute", type=click.IntRange(min=1), metavar="N", help="Of each key; else no limit.")
@click.option("--lenient", is_flag=True, help="Drop fields of requests that nobody knows, instead of refusing them.")
@click.option("--no-inspector", is_flag=True, help="Do without the page that shows what is asked.")
@click.option(
    "--log-level",
    type=click.Choice(["critical", "error", "warning", "info", "debug", "trace"]),
    default="warning",
    show_default=True,
    help="From info on, each request is a line.",
)
def serve(
    models: tuple[str, ...],
    embedding_model: str | None,
    aliases: tuple[str, ...],
    models_file: str | None,
    upstreams: tuple[str, ...],
    upstream_key: str | None,
    upstream_dialect: str | None,
    memory: float | None,
    host: str,
    port: int,
    context_length: int | None,
    slots: int | None,
    threads: int | None,
    api_keys: tuple[str, ...],
    api_key_file: str | None,
    origins: tuple[str, ...],
    max_body: int,
    grace: float,
    queue: int,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    lenient: bool,
    no_inspector: bool,
    log_level: str,
) -> None:
    """Serve models over Mistral's API, to this machine only unless told otherwise.

    The default Mixtral is made at its first use. Connections wait while the model loads. Where there are several models
    and memory is short for the next one, the one that was not used for longest is unloaded.
    """
    signal.signal(signal.SIGTERM, terminated)
    try:
        from mistral_client.server.engine import EngineError
        from mistral_client.server.guard import LOOPBACK_HOSTS, Guard, is_origin
        from mistral_client.server.inspector import Inspector
        from mistral_client.server.inspector.page import PAGES
        from mistral_client.server.loading import find, load
        from mistral_client.server.models import Models
        from mistral_client.server.weights import WeightsError

        from .http_server import Server
        from .server_keys import server_keys

        keys = server_keys(api_keys, api_key_file)
        for origin in origins:
            if not is_origin(origin):
                raise Failure(f"{origin!r} is no origin of web pages: https://example.org is one")
        sizes = {"context_length": context_length, "slots": slots, "threads": threads}
        if upstreams and (models or embedding_model or models_file or memory or any(sizes.values())):
            raise Failure("--upstream serves what other servers run; models and sizes do not go with it")
        specs = [] if upstreams else described(models, embedding_model, aliases, models_file, sizes)
        with _listening(host, port, open_to_all=bool(keys)) as listener:
            bound = _bound_host(listener)
            hosts = {*LOOPBACK_HOSTS, bound} if _is_loopback(listener.getsockname()[0]) else None
            # The page is for this machine, which must be able to call by a loopback address.
            inspector = None if no_inspector or _here(listener) is None else Inspector()
            guard = Guard(keys, hosts, origins, max_body, () if inspector is None else PAGES)
            served: Catalogue[Any]
            if upstreams:
                from mistral_client.server.upstream.calls import add_calls

                served, called = upstreams_of(upstreams, upstream_key, upstream_dialect, aliases, queue), add_calls
                said = f"Mistral's wire for {' and '.join(upstreams)} listens"
            else:
                # One model is loaded before anybody asks.
                limit = None if memory is None else int(memory * 1e9)
                offered = [load(specs[0], limit)] if len(specs) == 1 else [find(spec) for spec in specs]
                served, called = Models(offered, queue=queue, memory_limit=limit), None
                names = " and ".join(model.name for model in offered)
                said = f"{names} listens" if len(offered) == 1 else f"{names} listen"
            with closing(served):
                server = Server(
                    served,
                    log_level,
                    add_calls=called,
                    guard=guard,
                    grace=grace,
                    requests_per_minute=requests_per_minute,
                    tokens_per_minute=tokens_per_minute,
                    lenient=lenient,
                    inspector=inspector,
                )
                _announce(said, _url(listener), None if inspector is None else _here(listener))
                server.listen(listener)
    except ImportError as error:
        raise Failure(f"serve needs the local server: pip install 'mistral-client[local]' ({error})") from error
    except (WeightsError, EngineError) as error:
        raise Failure(str(error)) from error


def _announce(said: str, url: str, page: str | None) -> None:
    click.echo(f"{said} on {url}; Ctrl-C ends it.", err=True)
    if page is not None:
        click.echo(f"The inspector shows what is asked: {page}/", err=True)
    click.echo(f"To use it:\n  export MISTRAL_ENDPOINT={url}", err=True)


def _listening(host: str, port: int, *, open_to_all: bool) -> socket.socket:
    """A socket that listens, before the long work of loading, so that the port is free and stays ours.

    open_to_all: it may be reached from other machines.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise Failure(f"host {host!r} was not found: {error}") from None
    if not (open_to_all or _is_loopback(str(address[0]))):
        raise Failure(f"host {host!r} is not a loopback address such as 127.0.0.1: there it needs a key, --api-key")
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Failure(f"port {port} is in use; choose another with --port, or 0 for any that is free") from None
        raise Failure(f"port {port} of {host} cannot be listened on: {error.strerror}") from None
    return listener


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _bound_host(listener: socket.socket) -> str:
    """The address as it stands in URLs."""
    host = str(listener.getsockname()[0])
    return f"[{host}]" if ":" in host else host


def _here(listener: socket.socket) -> str | None:
    """A loopback URL that leads to it, if there is one."""
    address = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0])
    if address.is_loopback:
        return _url(listener)
    return f"http://localhost:{listener.getsockname()[1]}" if address.is_unspecified else None


def _url(listener: socket.socket) -> str:
    return f"http://{_bound_host(listener)}:{listener.getsockname()[1]}"
