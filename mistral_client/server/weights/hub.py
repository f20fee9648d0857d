"""Models of the Hugging Face hub, by way of `huggingface_hub`, which downloads them into a cache of its own.

It shows its progress on a terminal, goes on with a download that was broken off, and reads `HF_HOME`, `HF_TOKEN`,
`HF_ENDPOINT` and `HF_HUB_OFFLINE`. https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
"""

from __future__ import annotations

from pathlib import Path

from .errors import WeightsError
from .model_file import later_part

PREFIX = "hf:"

_CHECKPOINT = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja"]
"""The files of a checkpoint that are wanted; its pickles and its code are not even downloaded."""

_LISTED = 12


def fetch(name: str) -> Path:
    """Return the place of `hf:OWNER/REPO` or `hf:OWNER/REPO:FILE` in the hub's cache, downloaded if it is not there.

    FILE is the name of a GGUF file, or a part of it that no other file has, such as `Q4_K_M`; of a model in several
    files all are downloaded. Without it the repository must hold one model in GGUF, or none and a checkpoint.

    Raises `WeightsError`.
    """
    repo, _, wanted = name.removeprefix(PREFIX).partition(":")
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise WeightsError(f"{name!r} names no model of the hub; write hf:OWNER/REPO or hf:OWNER/REPO:FILE.gguf")
    try:
        import huggingface_hub  # noqa: PLC0415  # in an extra of its own
    except ImportError as error:
        raise WeightsError(f"{name} needs huggingface_hub: pip install 'mistral-client[hub]' ({error})") from error
    try:
        files, local = _files(repo)
        models = [file for file in files if file.endswith(".gguf") and not later_part(file)]
        if not models and not wanted and "config.json" in files:
            return Path(huggingface_hub.snapshot_download(repo, allow_patterns=_CHECKPOINT, local_files_only=local))
        model = _chosen(name, models, wanted)
        parts = [file for file in files if file == model or later_part(file) == model]
        places = [Path(huggingface_hub.hf_hub_download(repo, part, local_files_only=local)) for part in sorted(parts)]
    except WeightsError:
        raise
    except Exception as error:  # its errors have no root in common, and httpx's are among them
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{name} cannot be had from the hub: {said}") from error
    return places[0]


def _files(repo: str) -> tuple[list[str], bool]:
    """The names of a repository's files; without network those that were downloaded before, and true."""
    import huggingface_hub  # noqa: PLC0415

    try:
        found = huggingface_hub.HfApi().model_info(repo)
        return [file.rfilename for file in found.siblings or ()], False
    except (huggingface_hub.errors.HfHubHTTPError, huggingface_hub.errors.HFValidationError):
        raise  # the hub has answered, or need not be asked
    except Exception as unreachable:  # noqa: BLE001, that of whichever HTTP library it uses
        try:
            folder = Path(huggingface_hub.snapshot_download(repo, local_files_only=True))
        except huggingface_hub.errors.LocalEntryNotFoundError:
            raise unreachable from None
        return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()], True


def _chosen(name: str, models: list[str], wanted: str) -> str:
    fitting = [model for model in models if model == wanted] or [
        model for model in models if wanted.lower() in model.lower()
    ]
    if len(fitting) == 1:
        return fitting[0]
    if not models:
        raise WeightsError(f"{name} holds no model in GGUF")
    listed = ", ".join(sorted(fitting or models)[:_LISTED])
    more = " and others" if len(fitting or models) > _LISTED else ""
    if not fitting:
        raise WeightsError(f"{name} has no such file; there are {listed}{more}")
    repo = name.removeprefix(PREFIX).partition(":")[0]
    raise WeightsError(f"{name} holds several models, name one as {PREFIX}{repo}:FILE of {listed}{more}")
