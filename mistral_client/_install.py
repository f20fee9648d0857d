"""Makes `import mistralai` find this package, for programs that nobody wants to edit."""

from __future__ import annotations

import sys
from importlib import import_module

MODULES = (
    "",
    ".async_client",
    ".client",
    ".constants",
    ".exceptions",
    ".models",
    ".models.chat_completion",
    ".models.common",
    ".models.embeddings",
    ".models.models",
)
"""What the early client's package held, and ours holds at the same places."""


def install_as_mistralai() -> None:
    """From now on `mistralai` and its modules are this package's, in this process.

    Call it before anything imports `mistralai`; it raises `RuntimeError` when the official package is imported already,
    because two kinds of `ChatMessage` would meet.
    """
    package = __package__ or "mistral_client"
    if sys.modules.get("mistralai", sys.modules[package]) is not sys.modules[package]:
        raise RuntimeError(
            "the official mistralai package is imported already: call install_as_mistralai() before it is"
        )
    for name in MODULES:
        sys.modules["mistralai" + name] = import_module(package + name)
