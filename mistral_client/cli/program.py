"""The command with its subcommands, and what every error comes to.

Exit codes: 0 done; 1 it failed, with one line `error: ...`; 2 wrong usage; 130 Ctrl-C; 141 nobody reads the output any
more; 143 terminated. `run` has those of the script.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import click

from mistral_client._version import __version__
from mistral_client.exceptions import MistralException

from .chat import chat
from .completion import completion
from .deploy import deploy
from .embed import embed
from .failure import Failure
from .migrate import migrate
from .models import models
from .run import run
from .serve import serve

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

NOBODY_READS = 141
"""128 + SIGPIPE, likewise."""


class Program(click.Group):
    """A group of commands whose foreseeable errors are a line each."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MistralException as error:
            raise Failure(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _give_up_output()
            ctx.exit(NOBODY_READS)
        except OSError as error:  # a full disk
            _give_up_output()
            raise Failure(str(error)) from error


def _give_up_output() -> None:
    """Python flushes standard output once more at exit, and must not fail once more."""
    if sys.stdout is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.

    \b
    Examples:
      mistral-client chat "What is the best French cheese?"
      mistral-client serve
      mistral-client run program.py
    """,
)
@click.version_option(__version__, prog_name="mistral-client")
@click.pass_context
def program(ctx: click.Context) -> None:
    """Chat with Mistral's models from the command line, or with a small Mixtral on this machine.

    Without --endpoint the local Mixtral answers: nothing is sent anywhere, and no key is needed. It is made at its
    first use, out of a download of 93 MB.
    """
    if ctx.invoked_subcommand != "run" and isinstance(sys.stdout, io.TextIOWrapper):
        # An answer may hold letters that an old terminal has not; better a question mark than no answer.
        sys.stdout.reconfigure(errors="replace")


for command in (chat, completion, deploy, embed, migrate, models, run, serve):
    program.add_command(command)
