"""The command line. It stands on the client and on the server, and nothing stands on it."""

from __future__ import annotations

import sys


def main() -> None:
    """The command `mistral-client`."""
    try:
        # Late, so that who installed the client alone reads a sentence, and Ctrl-C meanwhile is no traceback.
        try:
            import click as _  # noqa: F401
        except ModuleNotFoundError:
            sys.exit("the command line needs: pip install 'mistral-client[local]'")
        from .program import program

        program(prog_name="mistral-client")
    except KeyboardInterrupt:
        sys.exit(130)
