"""What a server sends stays whole: required fields are asked for, unknown ones are kept."""

from __future__ import annotations

import base64
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mistral_client import (
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
    ChatMessage,
    ContentChunk,
    EmbeddingResponse,
    FinishReason,
    ImageURLChunk,
    ModelList,
    TextChunk,
    ToolType,
)

from .test_exchange import ANSWER

EARLY_CARD = {
    "id": "mistral-tiny",
    "object": "model",
    "created": 1704200000,
    "owned_by": "mistralai",
    "root": None,
    "parent": None,
    "permission": [
        {
            "id": "modelperm-0123",
            "object": "model_permission",
            "created": 1704200000,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": False,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
    ],
}
CARD_OF_TODAY = {
    "id": "mistral-small-latest",
    "object": "model",
    "created": 1782199134,
    "owned_by": "mistralai",
    "name": "mistral-small-2603",
    "description": "small",
    "max_context_length": 32768,
    "aliases": ["mistral-small"],
    "deprecation": None,
    "default_model_temperature": 0.3,
    "type": "base",
    "capabilities": {"completion_chat": True, "vision": False},
}


def test_cards_of_both_generations():
    models = ModelList.model_validate_json(json.dumps({"object": "list", "data": [EARLY_CARD, CARD_OF_TODAY]}))
    assert json.loads(models.model_dump_json(exclude_unset=True))["data"] == [EARLY_CARD, CARD_OF_TODAY]
    assert models.data[1].max_context_length == 32768
    assert str(models).startswith(
        "object='list' data=[ModelCard(id='mistral-tiny', object='model', created=1704200000, owned_by='mistralai', "
        "root=None, parent=None, permission=[ModelPermission(id='modelperm-0123', object='model_permission'"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
unknown = st.dictionaries(
    st.text(st.characters(categories=["Ll"]), min_size=3).map("x_".__add__), json_values, max_size=3
)


@given(unknown, unknown, unknown, st.text(min_size=1))
def test_unknown_fields_and_values_survive(outer, inner, innermost, reason):
    sent = {**ANSWER, **outer}
    message = {"role": "assistant", "content": "hi", **innermost}
    sent["choices"] = [{"index": 0, "finish_reason": reason, "message": message, **inner}]
    answer = ChatCompletionResponse.model_validate_json(json.dumps(sent))
    assert json.loads(answer.model_dump_json(exclude_unset=True)) == sent


@pytest.mark.parametrize("field", ["id", "object", "created", "model", "choices", "usage"])
def test_required_fields(field):
    with pytest.raises(ValidationError, match=field):
        ChatCompletionResponse.model_validate({key: value for key, value in ANSWER.items() if key != field})


def test_finish_reasons():
    def chunk(reason):
        choice = {"index": 0, "delta": {}, "finish_reason": reason}
        return ChatCompletionStreamResponse(id="1", model="m", choices=[choice]).choices[0].finish_reason

    assert chunk("stop") is FinishReason.stop
    assert chunk("stop") == "stop"
    assert chunk("content_filter") == "content_filter"
    assert chunk(None) is None


def test_chunks_of_early_2024_have_no_object_and_no_date():
    chunk = ChatCompletionStreamResponse.model_validate(
        {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}
    )
    assert (chunk.object, chunk.created, chunk.usage, chunk.choices[0].finish_reason) == (None,) * 4


def test_content_is_text_or_typed_chunks():
    content = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "hologram", "depth": 3},
    ]
    message = ChatMessage(role="user", content=content)
    assert [type(chunk) for chunk in message.content] == [TextChunk, ImageURLChunk, ContentChunk]
    assert json.loads(message.model_dump_json(exclude_unset=True))["content"] == content
    assert ChatMessage(role="user", content=[TextChunk(text="a")]).model_dump(exclude_unset=True)["content"] == [
        {"type": "text", "text": "a"}
    ]
    with pytest.raises(ValidationError, match="type"):
        ChatMessage(role="user", content=[{"text": "no type"}])


def test_the_early_names_of_a_message():
    message = ChatMessage(
        role="assistant", content="", name=None, tool_calls=[{"function": {"name": "f", "arguments": {}}}]
    )
    assert message.tool_calls[0].type == ToolType.function
    assert ChatMessage(role="tool", content="42", tool_call_id="abcdefghi").tool_call_id == "abcdefghi"


def vectors(*rows):
    data = [{"object": "embedding", "embedding": row, "index": index} for index, row in rows]
    usage = {"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0}
    return EmbeddingResponse.model_validate({"object": "list", "data": data, "model": "m", "usage": usage})


def as_base64(*numbers, kind="<f4"):
    return base64.b64encode(np.array(numbers, kind).tobytes()).decode()


def test_embeddings_as_an_array():
    mixed = vectors((1, as_base64(0.5, -2)), (0, [1, 0.25])).to_numpy()
    assert (mixed.dtype, mixed.tolist()) == (np.float32, [[1, 0.25], [0.5, -2]])
    whole = vectors((0, as_base64(-128, 127, kind="i1")), (1, [3, 4])).to_numpy("int8")
    assert (whole.dtype, whole.tolist()) == (np.int8, [[-128, 127], [3, 4]])


@pytest.mark.parametrize("rows", [((0, [1, 2]), (1, [3])), ((0, "AAA"),), ((0, "AAAA"),), ((0, "A A="),)])
def test_what_is_no_array(rows):
    with pytest.raises(ValueError):  # noqa: PT011, numpy's and base64's own
        vectors(*rows).to_numpy()


def test_an_array_needs_numpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ImportError, match=r"pip install 'mistral-client\[numpy\]'"):
        vectors((0, [1])).to_numpy()


def test_embeddings_as_floats_and_as_base64():
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    data = [
        {"object": "embedding", "embedding": [0.5, 1], "index": 0},
        {"object": "embedding", "embedding": "AAAA", "index": 1},
    ]
    answer = EmbeddingResponse.model_validate({"id": "1", "object": "list", "data": data, "model": "m", "usage": usage})
    assert [item.embedding for item in answer.data] == [[0.5, 1.0], "AAAA"]
    assert answer.usage.completion_tokens is None
