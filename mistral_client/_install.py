"""Makes `import mistralai` find this package, for programs that nobody wants to edit."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

MODULES: dict[str, tuple[str, ...]] = {
    "mistralai": ("mistral_client",),
    "mistralai.async_client": ("mistral_client.async_client",),
    "mistralai.client": ("mistral_client.client",),
    "mistralai.constants": ("mistral_client.constants",),
    "mistralai.exceptions": ("mistral_client.exceptions",),
    "mistralai.models": (),
    "mistralai.models.chat_completion": ("mistral_client.models.chat_completion",),
    "mistralai.models.common": ("mistral_client.models.common",),
    "mistralai.models.embeddings": ("mistral_client.models.embeddings",),
    "mistralai.models.models": ("mistral_client.models.models",),
}
"""The modules of the official package, of all its generations, and in which of ours their names are.

Where two have a name, the first counts. A module stands below the one that holds it.
"""


def names_of(module: str) -> dict[str, Any]:
    """What programs may take from a module of the official package, by name."""
    names: dict[str, Any] = {}
    for home in reversed(MODULES[module]):
        found = import_module(home)
        for name in getattr(found, "__all__", vars(found)):
            if name == "__version__" or not name.startswith("_"):
                names[name] = getattr(found, name)
    return names


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
    modules = {name: _module(name) for name in MODULES}
    for name, module in modules.items():
        above, _, last = name.rpartition(".")
        if above:
            setattr(modules[above], last, module)
    sys.modules.update(modules)


def _module(name: str) -> ModuleType:
    """A package, so that `import` looks for what is below it in `sys.modules`, and nowhere else."""
    module = module_from_spec(ModuleSpec(name, None, origin=__package__, is_package=True))
    vars(module).update(names_of(name))
    return module
