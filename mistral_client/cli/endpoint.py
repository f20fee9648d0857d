"""Where the calls of a command go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mistral_client.client import MistralClient

endpoint_option = click.option(
    "--endpoint",
    envvar="MISTRAL_ENDPOINT",
    default="local",
    metavar="URL",
    show_default=True,
    show_envvar=True,
    help="Who answers: a server's URL, 'local' for the default Mixtral in this process, or 'local:FILE.gguf'.",
)


def client(endpoint: str) -> MistralClient:
    """A client of that endpoint. Raises `ConfigurationError`."""
    # Late: it takes longer to import than `--help` to print.
    from mistral_client.client import MistralClient

    # One person asks one thing at a time. The cache of the usual four slots takes 570 MB and a fifth of a second more.
    os.environ.setdefault("MISTRAL_LOCAL_SLOTS", "1")
    return MistralClient(endpoint=endpoint)


def local_model(endpoint: str) -> str | None:
    """In local mode the name or file of the model, empty for the default one; None for a server elsewhere."""
    name, _, model = endpoint.partition(":")
    return model if name == "local" else None
