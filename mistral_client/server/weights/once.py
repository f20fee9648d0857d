"""A file that is made once, by one process, and is there whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import WeightsError
from .progress import say


def make_once(
    target: Path,
    *,
    is_made: Callable[[Path], bool],
    make: Callable[[Path], Path],
    waiting: str = "another process builds the model, waiting",
) -> Path:
    """Return `target`, made by `make` unless it is there already.

    `make` is given an empty folder beside the target and returns the finished file in it, which then takes the
    target's place in one step. The folder goes in every case; one left behind by a process that was killed goes with
    the next making. Processes and threads that want the same target wait, and say so after a second.

    Raises `WeightsError` when the folder cannot be written or is full, and whatever `make` raises.
    """
    if is_made(target):
        return target
    with _errors_named(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target, waiting):
            if is_made(target):
                return target
            for leftover in target.parent.glob(f"{target.name}.building-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=f"{target.name}.building-", dir=target.parent))
            try:
                made = make(folder)
                os.replace(made, target)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return target


@contextmanager
def _only_one(target: Path, waiting: str) -> Iterator[None]:
    import filelock  # noqa: PLC0415  # only where something is made

    lock = filelock.FileLock(target.with_name(target.name + ".lock"))
    try:
        lock.acquire(timeout=1)
    except filelock.Timeout:
        say(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _errors_named(folder: Path) -> Iterator[None]:
    """Turn the system's errors while writing into sentences."""
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(folder: Path, error: OSError) -> WeightsError:
    """Say why nothing could be written there."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return WeightsError(f"the disk of {folder} is full; free space, or set XDG_CACHE_HOME to another folder")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
        return WeightsError(f"{folder} cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder that can")
    return WeightsError(f"writing to {folder} failed: {error}")
