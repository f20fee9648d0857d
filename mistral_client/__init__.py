"""A typed client of Mistral's API with the call style of its first client, and a Mixtral of your own to try it on.

    from mistral_client import ChatMessage, MistralClient

    client = MistralClient(endpoint="local")
    answer = client.chat(model="mistral-small", messages=[ChatMessage(role="user", content="Why is the sky blue?")])
    print(answer.choices[0].message.content)

Names are imported when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from ._config import Limits
    from ._install import install_as_mistralai
    from ._limiter import RateLimiter
    from .async_client import AsyncChatStream, MistralAsyncClient
    from .client import ChatStream, MistralClient
    from .exceptions import (
        ArgumentError,
        AuthenticationError,
        ConfigurationError,
        InvalidRequestError,
        LocalModelError,
        MistralAPIException,
        MistralAPIStatusException,
        MistralConnectionException,
        MistralException,
        NotFoundError,
        PermissionDeniedError,
        ProtocolError,
        RateLimitError,
        RequestTimeout,
        ServerError,
        StreamInterrupted,
        StreamTimeout,
    )
    from .hooks import AttemptInfo, CallInfo, Hooks, RequestInfo
    from .models.chat_completion import (
        AudioChunk,
        ChatCompletionRequest,
        ChatCompletionResponse,
        ChatCompletionResponseChoice,
        ChatCompletionResponseStreamChoice,
        ChatCompletionStreamResponse,
        ChatMessage,
        ContentChunk,
        DeltaMessage,
        DocumentURLChunk,
        FileChunk,
        FinishReason,
        Function,
        FunctionCall,
        FunctionName,
        ImageURLChunk,
        JSONSchema,
        NamedToolChoice,
        Prediction,
        ReferenceChunk,
        ResponseFormat,
        ResponseFormats,
        Role,
        TextChunk,
        ThinkingChunk,
        Tool,
        ToolCall,
        ToolChoice,
        ToolType,
    )
    from .models.common import UsageInfo
    from .models.embeddings import EmbeddingObject, EmbeddingRequest, EmbeddingResponse
    from .models.fim import FIMCompletionRequest
    from .models.models import ModelCard, ModelDeleted, ModelList, ModelPermission
    from .models.rate_limit import RateLimit
    from .tokens import check_context, count_tokens

__all__ = [
    "ArgumentError",
    "AsyncChatStream",
    "AttemptInfo",
    "AudioChunk",
    "AuthenticationError",
    "CallInfo",
    "ChatCompletionRequest",
    "ChatCompletionResponse",
    "ChatCompletionResponseChoice",
    "ChatCompletionResponseStreamChoice",
    "ChatCompletionStreamResponse",
    "ChatMessage",
    "ChatStream",
    "ConfigurationError",
    "ContentChunk",
    "DeltaMessage",
    "DocumentURLChunk",
    "EmbeddingObject",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "FIMCompletionRequest",
    "FileChunk",
    "FinishReason",
    "Function",
    "FunctionCall",
    "FunctionName",
    "Hooks",
    "ImageURLChunk",
    "InvalidRequestError",
    "JSONSchema",
    "Limits",
    "LocalModelError",
    "MistralAPIException",
    "MistralAPIStatusException",
    "MistralAsyncClient",
    "MistralClient",
    "MistralConnectionException",
    "MistralException",
    "ModelCard",
    "ModelDeleted",
    "ModelList",
    "ModelPermission",
    "NamedToolChoice",
    "NotFoundError",
    "PermissionDeniedError",
    "Prediction",
    "ProtocolError",
    "RateLimit",
    "RateLimitError",
    "RateLimiter",
    "ReferenceChunk",
    "RequestInfo",
    "RequestTimeout",
    "ResponseFormat",
    "ResponseFormats",
    "Role",
    "ServerError",
    "StreamInterrupted",
    "StreamTimeout",
    "TextChunk",
    "ThinkingChunk",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolType",
    "UsageInfo",
    "__version__",
    "check_context",
    "count_tokens",
    "install_as_mistralai",
]

# Cheapest first: a name is looked for in one after the other.
_HOMES = (
    "exceptions",
    "models.rate_limit",
    "models.common",
    "models.models",
    "models.embeddings",
    "models.chat_completion",
    "models.fim",
    "_config",
    "_limiter",
    "hooks",
    "client",
    "async_client",
    "_install",
    "tokens",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f".{home}", __name__)
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
