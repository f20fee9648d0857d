"""`mistral-client serve`"""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
from contextlib import closing
from types import FrameType
from typing import NoReturn

import click

from .failure import Failure


@click.command(
    epilog="""Ctrl-C or SIGTERM ends it, with exit code 0; while the model still loads, with 130 or 143.

    \b
    Examples:
      mistral-client serve
      mistral-client serve --model mixtral-8x7b-instruct.Q4_K_M.gguf --port 8080
      MISTRAL_ENDPOINT=http://127.0.0.1:8000 mistral-client chat "Hello!"
    """
)
@click.option("-m", "--model", metavar="FILE.gguf", help="Model to serve; else the default Mixtral.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--context-length", type=click.IntRange(min=1), metavar="TOKENS", help="Of prompt and answer together.")
@click.option("--slots", type=click.IntRange(min=1), metavar="N", help="Answers at the same time.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads that compute.")
@click.option(
    "--log-level",
    type=click.Choice(["critical", "error", "warning", "info", "debug", "trace"]),
    default="warning",
    show_default=True,
    help="From info on, each request is a line.",
)
def serve(
    model: str | None,
    host: str,
    port: int,
    context_length: int | None,
    slots: int | None,
    threads: int | None,
    log_level: str,
) -> None:
    """Serve a model over Mistral's API, to this machine only.

    The default Mixtral is made at its first use. Connections wait while the model loads.
    """
    signal.signal(signal.SIGTERM, _terminated)
    try:
        from mistral_client.server.engine import EngineError
        from mistral_client.server.loading import load
        from mistral_client.server.weights import WeightsError

        from .http_server import Server

        with _listening(host, port) as listener:
            loaded = load(model, context_length=context_length, slots=slots, threads=threads)
            with closing(loaded.engine):
                server = Server(loaded, log_level)
                url = _url(listener)
                click.echo(f"{loaded.name} listens on {url}; Ctrl-C ends it. To use it:", err=True)
                click.echo(f"  export MISTRAL_ENDPOINT={url}", err=True)
                server.listen(listener)
    except ImportError as error:
        raise Failure(f"serve needs the local server: pip install 'mistral-client[local]' ({error})") from error
    except (WeightsError, EngineError) as error:
        raise Failure(str(error)) from error


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    """Unlike the system's way, this lets what was begun be tidied up."""
    raise SystemExit(128 + number)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens, before the long work of loading, so that the port is free and stays ours."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise Failure(f"host {host!r} was not found: {error}") from None
    if not ipaddress.ip_address(address[0]).is_loopback:
        raise Failure(f"host {host!r} is not a loopback address such as 127.0.0.1: this server asks for no key")
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


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
