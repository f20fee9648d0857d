"""`mistral-client migrate`"""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .completion import files
from .failure import Failure
from .plain import one_line, plain
from .python_files import namesake, python_files
from .whole_file import replace_files

if TYPE_CHECKING:
    from mistral_client.migrate.examining import Examined


@click.command(
    short_help="Move programs of the official client to this one.",
    epilog="""Exit codes: 0 nothing is left to do; 1 something is, for this command or for a person, or a file could not
    be read or written; 2 wrong usage.

    \b
    Examples:
      mistral-client migrate program.py
      mistral-client migrate src tests
      mistral-client migrate --write src tests
    """,
)
@click.option("--write", is_flag=True, help="Rewrite the programs, as the diff shows.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", shell_complete=files)
def migrate(write: bool, paths: tuple[str, ...]) -> None:
    """Tell what Python programs use of the official package mistralai, and rewrite their imports.

    Each PATH is a program, or a folder with programs, for any version from 0.0 to 3. It is told with file and line what
    would run differently here, or not at all, and a diff shows what there is to rewrite. A program with something in it
    that would not run is left as it is. With --write all the others are rewritten, unless a file could not be read or
    written: then none is.
    """
    try:
        from mistral_client.migrate.examining import examine
        from mistral_client.migrate.reading import CannotRead
    except ModuleNotFoundError as error:
        if error.name != "libcst":
            raise
        raise Failure("migrate needs: pip install 'mistral-client[migrate]'") from None

    broken = False
    read: dict[Path, Examined] = {}
    for path in python_files(paths):
        try:
            read[path] = examine(path.read_bytes(), namesake(path))
        except CannotRead as error:
            place = str(path) if error.line is None else f"{path}:{error.line}"
            Failure(f"{place}: {error.message}").show()
        except OSError as error:
            Failure(f"{path}: {error.strerror}").show()
        else:
            continue
        broken = True

    changed = {path: examined for path, examined in read.items() if examined.rewritten != examined.source}
    left = [path for path, examined in read.items() if examined.in_the_way]
    for path, examined in read.items():
        _report(path, examined)
    for path, examined in changed.items():
        _show(path, examined)
    if write and broken:
        raise Failure("nothing was written")
    if write:
        replace_files({path: (examined.source, examined.rewritten) for path, examined in changed.items()})
    click.echo(f"{len(changed)} {'rewritten' if write else 'to rewrite'}, {len(left)} to be looked at by a person")
    if broken or left or (changed and not write):
        sys.exit(1)


def _report(path: Path, examined: Examined) -> None:
    if examined.in_the_way:
        said = "stays as it is"
    elif examined.rewritten != examined.source:
        said = "runs when its imports are rewritten"
    elif examined.generations or examined.findings:
        said = "nothing to rewrite"
    else:
        return
    click.echo(one_line(f"{path}: {', '.join(examined.generations) or 'mistralai'}: {said}"))
    for finding in examined.findings:
        click.echo(one_line(f"{path}:{finding.line}: {finding.kind}: {finding.message}"))


def _show(path: Path, examined: Examined) -> None:
    """A diff in the form of `diff -u`, which `patch` takes."""
    before, after = (
        re.findall(r"[^\n]*\n|[^\n]+", text.decode(examined.encoding)) for text in (examined.source, examined.rewritten)
    )
    for line in difflib.unified_diff(before, after, str(path), str(path)):
        shown = plain(line) if sys.stdout.isatty() else line
        whole = shown if shown.endswith("\n") else f"{shown}\n\\ No newline at end of file\n"
        click.echo(whole, nl=False, color=True)  # click leaves out what looks like colours, otherwise
