"""From what a user calls a model to the file or the folder that holds it."""

from __future__ import annotations

import os
from pathlib import Path

from . import hub
from .checkpoint import check_checkpoint, is_checkpoint
from .errors import WeightsError
from .mixtral_8x135m import NAME, default_model
from .model_file import check_model


def resolve(model: str | os.PathLike[str] | None = None, progress: bool | None = None) -> Path:
    """Return the path of a checked GGUF file: the default Mixtral for None, "" or its name, else the file named, or one
    of the hub for `hf:OWNER/REPO[:FILE]`. Or that of a checked folder with a checkpoint in safetensors.

    The first call for the default builds it, see `default_model`, which `progress` is for; the first for a model of the
    hub downloads it.

    Raises `WeightsError` with one line that says what is wrong with the file and what to do.
    """
    if model is None or model in {"", NAME}:
        return default_model(progress)
    if is_remote(os.fspath(model)):
        model = hub.fetch(os.fspath(model))
    try:
        path = Path(model).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
        if is_folder and is_checkpoint(path):
            check_checkpoint(path)
            return path
    except (OSError, RuntimeError, ValueError) as error:  # no right to look, no such `~user`, a null character
        raise WeightsError(f"{os.fspath(model)!r} cannot be looked up: {error}") from error
    if is_folder:
        raise WeightsError(f"{path} is a folder; name the .gguf file{_of_folder(path)}")
    if not exists:
        if path.name == os.fspath(model) and path.suffix != ".gguf":
            raise WeightsError(f"no model is called {path.name!r}; name {NAME!r} or the path of a .gguf file")
        raise WeightsError(f"{path} does not exist; name a .gguf file, or {NAME!r} for the default model")
    check_model(path)
    return path


def is_remote(model: str) -> bool:
    """Whether a model lies elsewhere and has to be downloaded."""
    return model.startswith(hub.PREFIX)


def is_name(model: str) -> bool:
    """Whether this is no path: the default model, or one that lies elsewhere."""
    return model in {"", NAME} or is_remote(model)


def _of_folder(folder: Path) -> str:
    found = sorted(file.name for file in folder.glob("*.gguf"))
    return f" in it, such as {found[0]}" if found else ", of which there is none in it"
