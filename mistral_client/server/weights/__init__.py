"""Where weights come from: the default Mixtral, built once into the user's cache, or a file that the user names.

Weights are data: GGUF only here, its header checked before native code sees it; nothing is ever unpickled.
"""

from __future__ import annotations

from .errors import WeightsError
from .gguf_header import Header, Tensor, ValueType, read_header
from .mixtral_8x135m import DESCRIPTION, NAME, default_model
from .model_file import check_model, control_tokens, parts_of, stem_of, user_defined_tokens
from .names import is_name, is_remote, resolve

__all__ = [
    "DESCRIPTION",
    "NAME",
    "Header",
    "Tensor",
    "ValueType",
    "WeightsError",
    "check_model",
    "control_tokens",
    "default_model",
    "is_name",
    "is_remote",
    "parts_of",
    "read_header",
    "resolve",
    "stem_of",
    "user_defined_tokens",
]
