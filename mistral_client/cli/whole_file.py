"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from .failure import Failure
from .termination import terminated


@contextmanager
def whole_file(path: str | Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Give a file to write into, which takes the place of `path` when the block ends, unless it ends with an error.

    mode: of a new file, less what the user's mask takes from it. One that is replaced gives its own on.

    Raises `Failure` when it cannot be written.
    """
    target = Path(os.path.realpath(path))  # what a link leads to is replaced, not the link
    if target.exists() and not target.is_file():
        raise Failure(f"{path} cannot be written: it is no file")
    beside = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with _terminated_tidily():
            try:
                with open(beside, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
                    if target.exists():
                        shutil.copymode(target, beside)
                    yield file
                os.replace(beside, target)
            finally:
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from error


def replace_files(contents: Mapping[Path, tuple[bytes, bytes]]) -> None:
    """Give files other contents, all of them or none.

    contents: what each is expected to hold, and what it shall.

    Raises `Failure` when one holds something else or cannot be written; then all are as they were.
    """
    replaced: dict[Path, bytes] = {}
    try:
        with ExitStack() as ending:
            ending.enter_context(_terminated_tidily())
            ready: dict[Path, Path] = {}
            for path, (old, new) in contents.items():
                target = Path(os.path.realpath(path))
                if target.read_bytes() != old:
                    raise Failure(f"{path} has changed meanwhile")
                if not os.access(target, os.W_OK):
                    raise Failure(f"{path} cannot be written: it is read-only")
                beside = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
                ending.callback(beside.unlink, missing_ok=True)
                with open(beside, "xb") as file:
                    shutil.copymode(target, beside)
                    file.write(new)
                ready[target] = beside
            try:
                for (target, beside), (old, _) in zip(ready.items(), contents.values(), strict=True):
                    os.replace(beside, target)
                    replaced[target] = old
            except BaseException:
                for target, old in replaced.items():
                    with whole_file(target) as file:
                        file.write(old)
                raise
    except OSError as error:
        raise Failure(f"{error.filename} cannot be written: {error.strerror}") from error


@contextmanager
def _terminated_tidily() -> Iterator[None]:
    """Have SIGTERM end the process so that what was begun is tidied up."""
    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
