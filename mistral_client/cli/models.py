"""`mistral-client models`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .completion import files
from .endpoint import client, endpoint_option, local_model
from .failure import Failure
from .plain import one_line

if TYPE_CHECKING:
    from mistral_client.models.models import ModelCard


@click.group(
    invoke_without_command=True,
    epilog="""
    \b
    Examples:
      mistral-client models
      mistral-client models --endpoint http://127.0.0.1:8000 --json
      mistral-client models export --format safetensors mixtral-8x135m
    """,
)
@endpoint_option
@click.option("--json", "as_json", is_flag=True, help="Print the answer of the server.")
@click.pass_context
def models(ctx: click.Context, endpoint: str, as_json: bool) -> None:
    """List the names that an endpoint offers.

    Of the local Mixtral, which all its names lead to, it says what it is and where its file lies; if need be the file
    is made first.
    """
    if ctx.invoked_subcommand is not None:
        return
    from .known_names import offered

    with client(endpoint) as asked:
        listed = offered(asked, endpoint)
    if as_json:
        click.echo(listed.model_dump_json(exclude_unset=True, indent=2))
        return
    descriptions = list(dict.fromkeys(_shown(card, "description") for card in listed.data))
    columns = ["id", "max_context_length", "owned_by"]
    if len(descriptions) > 1:
        columns.append("description")
    for line in _table(listed.data, columns):
        click.echo(line)
    if len(descriptions) == 1 and descriptions[0]:
        click.echo(f"\n{descriptions[0]}")
    model = local_model(endpoint)
    if model is not None:
        click.echo(f"\n{_file(model)}")


@models.command(
    epilog="""
    \b
    Example:
      mistral-client models export --format safetensors mixtral-8x135m
    """
)
@click.option("--format", "format_", type=click.Choice(["safetensors"]), required=True, help="Of the weights.")
@click.option("--model", metavar="FILE.gguf", shell_complete=files, help="Another Mixtral than the default one.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def export(format_: str, model: str | None, folder: Path) -> None:  # noqa: ARG001  # there is one format
    """Write the default Mixtral as a checkpoint for Transformers, of 1.4 GB, into the new folder DIR."""
    from mistral_client.server import weights
    from mistral_client.server.weights.export import export_safetensors

    try:
        written = export_safetensors(weights.resolve(model), folder)
    except weights.WeightsError as error:
        raise Failure(str(error)) from error
    click.echo(written)


_TITLES = {"id": "MODEL", "max_context_length": "CONTEXT", "owned_by": "OWNER", "description": "DESCRIPTION"}


def _table(cards: Sequence[ModelCard], columns: Sequence[str]) -> list[str]:
    rows = [[_TITLES[name] for name in columns], *([_shown(card, name) for name in columns] for card in cards)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _shown(card: ModelCard, name: str) -> str:
    """A field of a card on one line; servers leave out what they like."""
    value = getattr(card, name, None)
    return "" if value is None else one_line(str(value))


def _file(model: str) -> str:
    from mistral_client.server import weights

    path = weights.resolve(model)  # it was loaded a moment ago, so nothing is made here
    return f"{path} ({path.stat().st_size / 1e6:.0f} MB)"
