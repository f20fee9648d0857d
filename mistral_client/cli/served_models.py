"""Which models a server offers: from options, or from a file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .failure import Failure

if TYPE_CHECKING:
    from mistral_client.server.loading import ModelSpec

_FIELDS: dict[str, type] = {
    "model": str,
    "name": str,
    "aliases": list,
    "context_length": int,
    "slots": int,
    "threads": int,
}


def described(
    models: Sequence[str],
    embedding_model: str | None,
    aliases: Sequence[str],
    file: str | None,
    sizes: Mapping[str, Any],
) -> list[ModelSpec]:
    """The models of a file, or else those of the options, which have these sizes."""
    if file is None:
        return [replace(spec, **sizes) for spec in from_options(models, embedding_model, aliases)]
    if models or embedding_model or aliases or any(sizes.values()):
        raise Failure("--models describes all models; --model, --alias and sizes do not go with it")
    return from_file(file)


def from_options(models: Sequence[str], embedding_model: str | None, aliases: Sequence[str]) -> list[ModelSpec]:
    """The models of `--model`, which may be none, and of `--embedding-model`.

    aliases: NAME=MODEL each, where MODEL is one of these as it was named.
    """
    from mistral_client.server.loading import ModelSpec

    specs = {model: ModelSpec(model or None) for model in models or [""]}
    if embedding_model is not None:
        if embedding_model in specs:
            raise Failure(f"{embedding_model} is given as --model and as --embedding-model: once is enough")
        specs[embedding_model] = ModelSpec(embedding_model, aliases=("mistral-embed",))
    for alias in aliases:
        name, separator, model = alias.partition("=")
        if not (separator and name) or model not in specs:
            named = ", ".join(filter(None, specs)) or "the models of --model"
            raise Failure(f"--alias {alias} is not NAME=MODEL with a MODEL of {named}")
        specs[model] = replace(specs[model], aliases=(*(specs[model].aliases or ()), name))
    return list(specs.values())


def from_file(file: str) -> list[ModelSpec]:
    """The models of a TOML file, a table `[[models]]` each; paths in it are relative to its folder."""
    try:
        with Path(file).open("rb") as opened:
            content = tomllib.load(opened)
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{file} is not TOML: {error}") from None
    tables = content.pop("models", None)
    if content or not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise Failure(f"{file} must hold a table [[models]] for each model, and nothing else")
    return [_spec(file, number, table) for number, table in enumerate(tables, start=1)]


def _spec(file: str, number: int, table: Mapping[str, Any]) -> ModelSpec:
    from mistral_client.server.loading import ModelSpec
    from mistral_client.server.weights import is_name

    for key, value in table.items():
        if key not in _FIELDS:
            raise Failure(f"{file}, model {number}: there is no {key!r}; there are {', '.join(_FIELDS)}")
        if type(value) is not _FIELDS[key] or (isinstance(value, list) and not all(type(v) is str for v in value)):
            kind = {str: "a text", int: "a whole number", list: "a list of texts"}[_FIELDS[key]]
            raise Failure(f"{file}, model {number}: {key} must be {kind}")
    given = dict(table)
    if "aliases" in given:
        given["aliases"] = tuple(given["aliases"])
    if "model" in given and not is_name(given["model"]):
        given["model"] = str(Path(file).parent / Path(given["model"]).expanduser())
    return ModelSpec(**given)
