"""`mistral-client completion`, and what a shell is told of the values of arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@click.command(
    short_help="Print the script by which a shell completes.",
    epilog="""
    \b
    Examples:
      eval "$(mistral-client completion bash)"     in ~/.bashrc
      eval "$(mistral-client completion zsh)"      in ~/.zshrc, after compinit
      mistral-client completion fish > ~/.config/fish/completions/mistral-client.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script by which SHELL completes commands, options, files and names of models.

    The names are those that an endpoint offered when `mistral-client models` or a conversation last asked it.
    """
    from click.shell_completion import get_completion_class

    root = ctx.find_root()
    kind = get_completion_class(shell)
    assert kind is not None and root.info_name is not None  # noqa: S101, PT018
    name = root.info_name
    click.echo(kind(root.command, {}, name, f"_{name}_COMPLETE".replace("-", "_").upper()).source())


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell completes a file by itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def model_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The names that the endpoint offered when it was last asked. No network."""
    from .known_names import known_names

    return [name for name in known_names(ctx.params.get("endpoint")) if name.startswith(incomplete)]
