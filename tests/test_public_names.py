from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import mistral_client
from mistral_client import MistralAsyncClient, MistralClient

PACKAGE = Path(mistral_client.__file__).parent


def test_all_names_are_there_and_sorted():
    assert mistral_client.__all__ == sorted(mistral_client.__all__)
    assert dir(mistral_client) == mistral_client.__all__
    for name in mistral_client.__all__:
        assert getattr(mistral_client, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = mistral_client.nonsense


def test_all_is_what_the_type_checker_sees():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    seen = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level for alias in node.names
    }
    assert seen == set(mistral_client.__all__)


def test_every_public_name_has_a_docstring():
    for name in mistral_client.__all__:
        value = getattr(mistral_client, name)
        assert name == "__version__" or inspect.getdoc(value), name


@pytest.mark.parametrize(
    "name",
    [
        "list_models",
        "retrieve_model",
        "delete_model",
        "chat",
        "chat_stream",
        "run_tools",
        "embeddings",
        "embed_all",
        "completion",
        "completion_stream",
        "with_options",
        "close",
    ],
)
def test_both_clients_have_the_same_methods(name):
    sync, asynchronous = getattr(MistralClient, name), getattr(MistralAsyncClient, name)
    assert [*inspect.signature(sync).parameters.values()] == [*inspect.signature(asynchronous).parameters.values()]
    not_awaited = {"chat_stream", "completion_stream", "with_options"}
    if name not in {"chat_stream", "completion_stream", "close"}:
        assert inspect.getdoc(sync) == inspect.getdoc(asynchronous)
    assert inspect.iscoroutinefunction(asynchronous) == (name not in not_awaited)


def test_both_clients_have_the_same_public_names():
    def public(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(MistralClient) == public(MistralAsyncClient)


def test_construction_keeps_the_early_order():
    early = ["self", "api_key", "endpoint", "max_retries", "timeout"]
    assert [*inspect.signature(MistralClient.__init__).parameters][:5] == early
    assert [*inspect.signature(MistralAsyncClient.__init__).parameters][:6] == [*early, "max_concurrent_requests"]


LIGHT = """
import sys
import mistral_client
assert not {"httpx", "pydantic", "anyio"} & set(sys.modules), "the bare package is lighter than its dependencies"
from mistral_client import *
heavy = {"fastapi", "starlette", "uvicorn", "torch", "xllamacpp", "gguf", "numpy", "mistral_client.server", "mistral_client.cli"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_the_sdk_imports_nothing_heavy():
    subprocess.run([sys.executable, "-W", "error", "-c", LIGHT], check=True, timeout=60)


INSTALL = """
import mistral_client, sys
mistral_client.install_as_mistralai()
mistral_client.install_as_mistralai()
import mistralai
from mistralai.client import MistralClient
from mistralai.async_client import MistralAsyncClient
from mistralai.exceptions import MistralAPIException, MistralAPIStatusException, MistralConnectionException, MistralException
from mistralai.constants import ENDPOINT, RETRY_STATUS_CODES
from mistralai.models.chat_completion import (
    ChatCompletionResponse, ChatCompletionResponseChoice, ChatCompletionResponseStreamChoice, ChatCompletionStreamResponse,
    ChatMessage, DeltaMessage, FinishReason, Function, FunctionCall, ResponseFormat, ResponseFormats, ToolCall, ToolChoice, ToolType,
)
from mistralai.models.common import UsageInfo
from mistralai.models.embeddings import EmbeddingObject, EmbeddingResponse
from mistralai.models.models import ModelCard, ModelDeleted, ModelList, ModelPermission
assert ChatMessage is mistral_client.ChatMessage is mistralai.ChatMessage
assert MistralClient.__module__ == "mistral_client.client"
assert mistralai.__version__ == mistral_client.__version__

# 1.x
from mistralai import Mistral, UserMessage, models
from mistralai.models import CompletionEvent, SDKError, ToolChoice, UserMessage as Same
from mistralai.models.sdkerror import SDKError as Small
from mistralai.models.no_response_error import NoResponseError
from mistralai.sdk import Mistral as Sdk
from mistralai.types import UNSET
from mistralai.utils import BackoffStrategy, RetryConfig
from mistralai.utils.retries import RetryConfig as Deep
assert Mistral is mistral_client.Mistral is mistralai.Mistral is Sdk
assert models is mistralai.models and UserMessage is Same is models.usermessage.UserMessage
assert issubclass(SDKError, Exception) and Small is SDKError and RetryConfig is Deep
assert ToolChoice is not mistralai.models.chat_completion.ToolChoice  # 0.x meant something else

# 2.x and 3.x
import mistralai.client.models as client_models
from mistralai.client import Mistral as Later, errors, models, types, utils
from mistralai.client.errors import HTTPValidationError, MistralError, NoResponseError, ResponseValidationError, SDKError
from mistralai.client.errors.sdkerror import SDKError as Small
from mistralai.client.models import ChatCompletionResponse, CompletionChunk, SystemMessage
from mistralai.client.models.assistantmessage import AssistantMessage
from mistralai.client.sdk import Mistral as Sdk
from mistralai.client.types.basemodel import UNSET
from mistralai.client.utils import BackoffStrategy, RetryConfig
from mistralai.client.utils.eventstreaming import EventStream, EventStreamAsync
assert Later is Mistral is Sdk and models is client_models and errors.SDKError is Small is SDKError
assert types.UNSET is UNSET and utils.RetryConfig is RetryConfig

import importlib.util
assert importlib.util.find_spec("mistralai.client").origin == "mistral_client"
assert importlib.util.find_spec("mistralai.extra") is None
for name in ("mistralai.server", "mistralai.cli", "mistralai.azure"):  # neither ours under another name, nor theirs
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(name)
exec("from mistralai.client import *")
assert not hasattr(mistralai.client, "httpx") and not hasattr(mistralai, "OCRRequest")
"""


def test_install_as_mistralai():
    subprocess.run([sys.executable, "-W", "error", "-c", INSTALL], check=True, timeout=60)


@pytest.mark.parametrize("module", [ast, ModuleType("mistralai")])
def test_install_refuses_to_mix_with_the_official_package(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "mistralai", module)
    with pytest.raises(RuntimeError, match="imported already"):
        mistral_client.install_as_mistralai()
