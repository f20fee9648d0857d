"""Where weights come from: the default Mixtral, built once into the user's cache, or a file that the user names.

Weights are data, GGUF or safetensors, checked before native code sees them; nothing is ever unpickled.
"""

from __future__ import annotations

from .checkpoint import Checkpoint, check_checkpoint, head_size, is_control, key_value_heads
from .errors import WeightsError
from .gguf_header import Header, Tensor, ValueType, read_header
from .mixtral_8x135m import DESCRIPTION, NAME, default_model
from .model_file import (
    check_model,
    control_tokens,
    is_embedding_model,
    is_float32,
    is_laid_out_anew,
    parts_of,
    stem_of,
    user_defined_tokens,
)
from .names import is_name, is_remote, resolve
from .safetensors_header import StoredTensor, read_safetensors_header

__all__ = [
    "DESCRIPTION",
    "NAME",
    "Checkpoint",
    "Header",
    "StoredTensor",
    "Tensor",
    "ValueType",
    "WeightsError",
    "check_checkpoint",
    "check_model",
    "control_tokens",
    "default_model",
    "head_size",
    "is_control",
    "is_embedding_model",
    "is_float32",
    "is_laid_out_anew",
    "is_name",
    "is_remote",
    "key_value_heads",
    "parts_of",
    "read_header",
    "read_safetensors_header",
    "resolve",
    "stem_of",
    "user_defined_tokens",
]
