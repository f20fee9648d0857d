"""Names of the official package: which generation has them, and where they are here."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from mistral_client._install import homes, names_of

from .finding import Generation

PACKAGE = "mistral_client"
OFFICIAL = ("mistralai", "mistralai_azure", "mistralai_gcp")

_EARLY = (
    "mistralai.async_client",
    "mistralai.client_base",
    "mistralai.constants",
    "mistralai.exceptions",
    "mistralai.models.chat_completion",
    "mistralai.models.common",
    "mistralai.models.embeddings",
    "mistralai.models.files",
    "mistralai.models.jobs",
    "mistralai.models.models",
)
_LATER = ("mistralai.azure", "mistralai.client", "mistralai.gcp")


def is_official(dotted: str) -> bool:
    """Whether a module, or what is in it, belongs to the official package."""
    return dotted.partition(".")[0] in OFFICIAL


def generation(dotted: str) -> Generation:
    """The first generation in which a name of the official package is where it is."""
    if dotted == "mistralai.client.MistralClient" or _is_within(dotted, _EARLY):
        return Generation.early
    return Generation.later if _is_within(dotted, _LATER) else Generation.first


def needs(dotted: str) -> str:
    """What to tell of a name that is not here."""
    return f"it needs the official package: pip install {generation(dotted).requirement}"


def _is_within(dotted: str, modules: tuple[str, ...]) -> bool:
    return any(f"{dotted}.".startswith(f"{module}.") for module in modules)


def is_module(dotted: str) -> bool:
    """Whether it is a module of the official package that is here."""
    return dotted in homes()


def split(dotted: str) -> tuple[str, list[str]]:
    """The longest module of ours that a dotted name begins with, and the names after it; "" where there is none."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if is_module(module):
            return module, parts[length:]
    return "", parts


@cache
def places(module: str, name: str) -> tuple[str, ...]:
    """The modules here that have a name of one of the official package's, the best first; none where it is missing."""
    if not is_module(module) or name not in names_of(module):
        return ()
    value = names_of(module)[name]
    # The package itself has what 1.x had at that place, and what is public here.
    above = (PACKAGE,) if name in names_of("mistralai") else ()
    ours = [home for home in homes()[module] if home != PACKAGE]
    return tuple(home for home in (*above, *ours) if getattr(import_module(home), name, None) is value)
