"""The wire: what the API takes and gives, as typed objects. All names of later clients are found here too."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    modern = import_module(".modern", __name__)
    return vars(modern)[name] if name in vars(modern) else getattr(import_module(__name__.partition(".")[0]), name)
