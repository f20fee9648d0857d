"""How a command fails: one line on standard error, and an exit code."""

from __future__ import annotations

from typing import IO, Any

import click

from .plain import one_line


class Failure(click.ClickException):
    """What went wrong, for a person. Exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {one_line(self.message)}", file=file, err=True)


class UnusableArgument(Failure):
    """An argument names what is not there. Exit code 2, as for wrong usage."""

    exit_code = 2
