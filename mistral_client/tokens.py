"""How many tokens a prompt has, and whether it fits a model: counted here, offline, and exactly.

The vocabularies are those that `mistral-common` carries, of the extra `tokens`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import ValidationError

from ._calls import Messages, validation_message
from .exceptions import ArgumentError, ConfigurationError
from .models.chat_completion import ChatCompletionRequest, ChatMessage, TextChunk, Tool, ToolCall

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

TokenizerVersion = Literal["v1", "v2", "v3", "v3-tekken"]


class _Model(NamedTuple):
    version: TokenizerVersion
    context: int


_32K, _64K, _128K = 32 * 1024, 64 * 1024, 128 * 1024

# Versions: `MODEL_NAME_TO_TOKENIZER_CLS` in tokens/tokenizers/mistral.py of https://github.com/mistralai/mistral-common
# Contexts: docs/getting-started/models of https://github.com/mistralai/platform-docs-public, as 32k and so on.
# Names that move on, such as `mistral-small-latest`, are in neither: what they mean today is not known here.
_MODELS = {
    "open-mistral-7b": _Model("v1", _32K),
    "open-mixtral-8x7b": _Model("v1", _32K),
    "open-mixtral-8x22b": _Model("v3", _64K),
    "open-mixtral-8x22b-2404": _Model("v3", _64K),
    "open-mistral-nemo-2407": _Model("v3-tekken", _128K),
    "mistral-tiny-2312": _Model("v2", _32K),
    "mistral-small": _Model("v3", _32K),
    "mistral-small-2312": _Model("v2", _32K),
    "mistral-small-2402": _Model("v2", _32K),
    "mistral-small-2409": _Model("v3-tekken", _32K),
    "mistral-medium-2312": _Model("v1", _32K),
    "mistral-large-2402": _Model("v2", _32K),
    "mistral-large-2407": _Model("v3", _128K),
    "ministral-8b-2410": _Model("v3-tekken", _128K),
    "codestral-2405": _Model("v3", _32K),
    "mistral-embed": _Model("v1", 8 * 1024),
}


def count_tokens(
    messages: Messages | str,
    model: str | None = None,
    *,
    tools: Iterable[Tool | Mapping[str, Any]] | None = None,
    version: TokenizerVersion | None = None,
) -> int:
    """The tokens of a prompt, as `usage.prompt_tokens` of an answer has them.

    messages: of a conversation, as in `chat`; or a text, which is counted by itself, without what a prompt puts around.
    model: a name of Mistral's API whose tokenizer is known. version: of the tokenizer, for any other model.
    tools: those that are offered with the messages.

    Raises `ArgumentError` for a model that is not known, and for messages and tools that the tokenizer cannot lay out;
    `ConfigurationError` without mistral-common, which `mistral-client[tokens]` brings.
    """
    if version is None:
        version = _known(model).version
    if isinstance(messages, str):
        _check_text("messages", messages)
        return len(_tokenizer(version).instruct_tokenizer.tokenizer.encode(messages, bos=False, eos=False))
    try:
        request = ChatCompletionRequest.model_validate(
            {"model": model or version, "messages": _listed(messages), "tools": _listed(tools) or None}
        )
    except ValidationError as error:
        raise ArgumentError(validation_message(error)) from None
    if version == "v1" and (
        request.tools or any(message.role == "tool" or message.tool_calls for message in request.messages)
    ):
        raise ArgumentError("tools: a prompt of tokenizer v1 has no place for tools, their calls and their results")
    return len(_prompt(_tokenizer(version), request))


def check_context(
    messages: Messages | str,
    model: str | None = None,
    *,
    max_tokens: int = 0,
    tools: Iterable[Tool | Mapping[str, Any]] | None = None,
    version: TokenizerVersion | None = None,
    context: int | None = None,
) -> int:
    """The tokens of a prompt that fits the model's context, together with the answer.

    max_tokens: of the answer. context: tokens that the model can read and write, where it is not known here; the
    `max_context_length` of a model's card. The other arguments are those of `count_tokens`.

    Raises `ArgumentError`, with the figures, where it does not fit; and the errors of `count_tokens`.
    """
    if context is None:
        context = _known(model, "context").context
    tokens = count_tokens(messages, model, tools=tools, version=version)
    if tokens + max_tokens > context:
        answer = f" and the answer may have {max_tokens}" if max_tokens else ""
        raise ArgumentError(
            f"messages: the prompt has {tokens} tokens{answer}, but the context of {model or 'the model'} has {context}"
        )
    return tokens


def _known(model: str | None, argument: str = "version") -> _Model:
    if model in _MODELS:
        return _MODELS[model]
    raise ArgumentError(
        f"model: what {model!r} means is not known here; give {argument}=, or one of {', '.join(sorted(_MODELS))}"
    )


@lru_cache
def _tokenizer(version: str) -> MistralTokenizer[Any, Any, Any, Any, Any]:
    try:
        from mistral_common.tokens.tokenizers.mistral import MistralTokenizer  # noqa: PLC0415

        match version:
            case "v1":
                return MistralTokenizer.v1()
            case "v2":
                return MistralTokenizer.v2()
            case "v3":
                return MistralTokenizer.v3()
            case "v3-tekken":
                return MistralTokenizer.v3(is_tekken=True)
    except ImportError as error:
        raise ConfigurationError(
            f"to count tokens takes mistral-common: pip install 'mistral-client[tokens]' ({error})"
        ) from error
    raise ArgumentError(f"version: {version!r} is none of v1, v2, v3 and v3-tekken")


def _prompt(tokenizer: MistralTokenizer[Any, Any, Any, Any, Any], request: ChatCompletionRequest) -> list[int]:
    """The prompt, whether or not the order of the messages would be accepted: the server is the judge of that."""
    from mistral_common.exceptions import MistralCommonException  # noqa: PLC0415
    from mistral_common.protocol.instruct import request as theirs  # noqa: PLC0415
    from mistral_common.protocol.instruct.normalize import get_normalizer  # noqa: PLC0415

    messages = [_message(place, message) for place, message in enumerate(request.messages)]
    tools = [
        {"function": tool.function.model_dump(include={"name", "description", "parameters"}, exclude_none=True)}
        for tool in request.tools or ()
    ]
    try:
        given: theirs.ChatCompletionRequest[Any] = theirs.ChatCompletionRequest.model_validate(
            {"messages": messages, "tools": tools or None}
        )
        laid_out = get_normalizer(tokenizer.instruct_tokenizer.tokenizer.version).from_chat_completion_request(given)
        tokens: list[int] = tokenizer.instruct_tokenizer.encode_instruct(laid_out).tokens
    except (MistralCommonException, AssertionError, RuntimeError, ValueError) as error:
        raise ArgumentError(f"messages: {error}") from None
    return tokens


def _message(place: int, message: ChatMessage) -> dict[str, Any]:
    """With the fields that mistral-common knows."""
    text = message.content or ""
    if isinstance(text, list):
        for chunk in text:
            if not isinstance(chunk, TextChunk):
                raise ArgumentError(f"messages.{place}: content of type {chunk.type!r} cannot be counted")
        text = "".join(chunk.text for chunk in text if isinstance(chunk, TextChunk))
    _check_text(f"messages.{place}", text)
    said: dict[str, Any] = {"role": message.role, "content": text}
    match message.role:
        case "assistant":
            calls = [_call(call) for call in message.tool_calls or ()]
            if bool(text) == bool(calls):
                raise ArgumentError(f"messages.{place}: the answer has to be either text or calls of tools")
            said |= {"content": text or None, "tool_calls": calls or None, "prefix": bool(message.prefix)}
        case "tool":
            said |= {"tool_call_id": message.tool_call_id, "name": message.name}
    return said


def _check_text(where: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{where}: {error.reason}") from None


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = call.function.arguments
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": call.id, "function": {"name": call.function.name, "arguments": text}}


def _listed(given: object) -> object:
    """Any iterable as a list; what is none is for the validation to refuse."""
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str | Mapping) else given
