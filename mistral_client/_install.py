"""Makes `import mistralai` find this package, for programs that nobody wants to edit."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

_KINDS = ("chat_completion", "embeddings", "fim", "models", "common")
_TYPES = ("models.modern", *(f"models.{kind}" for kind in _KINDS), "exceptions", "modern", "models")
_SDK = ("sdk", "types", "types.basemodel", "utils", "utils.eventstreaming", "utils.retries")

# The modules of the official package, and in which of ours their names are; where two have a name, the first counts.
_HOMES: dict[str, tuple[str, ...]] = {
    # 0.x
    **{f"mistralai.{name}": (name,) for name in ("async_client", "constants", "exceptions")},
    **{f"mistralai.models.{kind}": (f"models.{kind}",) for kind in _KINDS if kind != "fim"},
    # 1.x
    "mistralai": (*_TYPES, ""),
    "mistralai.models": _TYPES,
    "mistralai.models.no_response_error": ("exceptions",),
    **{f"mistralai.{name}": ("modern",) for name in _SDK},
    # 0.x, and 2.x and 3.x
    "mistralai.client": ("modern", "client"),
    "mistralai.client.errors": ("exceptions",),
    "mistralai.client.errors.no_response_error": ("exceptions",),
    "mistralai.client.models": _TYPES,
    **{f"mistralai.client.{name}": ("modern",) for name in _SDK},
}
_OF_SMALL_MODULES = ("mistralai.models", "mistralai.client.models", "mistralai.client.errors")
"""Where each class is also in a module of its own, whose name is its own in lower case."""


@cache
def homes() -> dict[str, tuple[str, ...]]:
    """The modules of the official package, all generations together, and in which of ours their names are.

    Where two have a name, the first counts.
    """
    found = {official: tuple(f"{__package__}.{name}".rstrip(".") for name in ours) for official, ours in _HOMES.items()}
    for above in _OF_SMALL_MODULES:
        for name, value in _names(found[above]).items():
            if isinstance(value, type):
                found.setdefault(f"{above}.{name.lower()}", found[above])
    return found


def names_of(official: str) -> dict[str, Any]:
    """What programs may take from a module of the official package, by name."""
    return _names(homes()[official])


@cache
def _names(modules: tuple[str, ...]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for home in map(import_module, reversed(modules)):
        for name in getattr(home, "__all__", vars(home)):
            if (name == "__version__" or not name.startswith("_")) and not _is_imported(name, getattr(home, name)):
                names[name] = getattr(home, name)
    return names


def _is_imported(name: str, value: Any) -> bool:
    """Whether a module of ours has it only because it uses it."""
    if isinstance(value, ModuleType):
        return True
    return getattr(value, "__name__", None) == name and str(value.__module__).partition(".")[0] != __package__


def install_as_mistralai() -> None:
    """From now on `mistralai` and its modules are this package's, in this process.

    They have the names of all generations of the official package, 0.x to 3.x, as far as they are here.

    Call it before anything imports `mistralai`; it raises `RuntimeError` when the official package is imported already,
    because two kinds of `ChatMessage` would meet.
    """
    there = sys.modules.get("mistralai")
    if there is not None:
        if getattr(getattr(there, "__spec__", None), "origin", None) == __package__:
            return
        raise RuntimeError(
            "the official mistralai package is imported already: call install_as_mistralai() before it is"
        )
    modules = {name: _module(name) for name in homes()}
    for name, module in modules.items():
        above, _, last = name.rpartition(".")
        if above:
            setattr(modules[above], last, module)
    sys.modules.update(modules)


def _module(name: str) -> ModuleType:
    """A package, so that `import` looks for what is below it in `sys.modules`, and nowhere else."""
    module = module_from_spec(ModuleSpec(name, None, origin=__package__, is_package=True))
    vars(module).update(names_of(name))
    module.__file__ = sys.modules[__package__].__file__  # errors name the file in which a name was not found
    return module
