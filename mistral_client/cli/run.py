"""`mistral-client run`"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from types import TracebackType

import click

from . import piped
from .completion import files
from .endpoint import endpoint_option


@click.command(
    epilog="""
    \b
    Examples:
      mistral-client run program.py
      mistral-client run --endpoint http://127.0.0.1:8000 program.py --verbose
    """,
    context_settings={"allow_interspersed_args": False},
)
@endpoint_option
@click.argument("script", shell_complete=files)
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...", shell_complete=files)
def run(endpoint: str, script: str, args: tuple[str, ...]) -> None:
    """Run a Python program of the official client, of any generation, unchanged.

    `import mistralai` finds this package, and clients that name no endpoint ask the local Mixtral, whatever key the
    program carries, or finds in MISTRAL_API_KEY. What comes after SCRIPT is the program's own, and so is the exit code.
    """
    with piped.opened(script):
        pass

    from mistral_client import install_as_mistralai

    install_as_mistralai()
    os.environ["MISTRAL_ENDPOINT"] = endpoint
    if endpoint.partition(":")[0] == "local":
        os.environ.setdefault("MISTRAL_API_KEY", "local")  # many programs look for one, and end without
    sys.argv = [script, *args]
    if not sys.flags.safe_path:
        sys.path[0] = str(Path(script).resolve().parent)
    try:
        runpy.run_path(os.path.abspath(script), run_name="__main__")
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001, shown just as Python would
        sys.excepthook(type(error), error.with_traceback(_own(error.__traceback__)), error.__traceback__)
        sys.exit(1)


def _own(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback from the script's first frame on; a script that does not parse has none."""
    ours = {__file__, runpy.run_path.__code__.co_filename}
    while traceback is not None and traceback.tb_frame.f_code.co_filename in ours:
        traceback = traceback.tb_next
    return traceback
