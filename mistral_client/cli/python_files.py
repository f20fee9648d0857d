"""Which files are Python programs of somebody's own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import mistral_client

from .failure import Failure, UnusableArgument

_OTHERS = {"__pycache__", "build", "dist", "node_modules", "site-packages"}


def python_files(paths: Iterable[str]) -> list[Path]:
    """The files that are named, whatever they are called, and those in folders that end in .py, each once, in order.

    Hidden folders, environments, and what is installed or built are left out, and so are links in folders.

    Raises `UnusableArgument` for a path that is not there, `Failure` for a folder that cannot be read.
    """
    found: dict[str, Path] = {}
    for name in paths:
        path = Path(name)
        if not path.exists():
            raise UnusableArgument(f"{name!r} is not there")
        for each in _below(path) if path.is_dir() else [path]:
            found.setdefault(os.path.realpath(each), each)
    return list(found.values())


def _below(folder: Path) -> Iterator[Path]:
    for name, folders, files in os.walk(folder, onerror=_unreadable):
        here = Path(name)
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith(".") and each not in _OTHERS and not (here / each / "pyvenv.cfg").exists()
        )
        yield from (here / each for each in sorted(files) if each.endswith(".py") and not (here / each).is_symlink())


def _unreadable(error: OSError) -> NoReturn:
    raise Failure(f"{error.filename} cannot be read: {error.strerror}") from error


def namesake(program: Path) -> str | None:
    """What beside a program that is run would be imported in place of this package; modules of a package see none."""
    beside = program.parent
    if (beside / "__init__.py").exists():
        return None
    names = (beside / "mistral_client.py", beside / "mistral_client" / "__init__.py")
    return next((str(name) for name in names if name.exists() and not name.samefile(mistral_client.__file__)), None)
