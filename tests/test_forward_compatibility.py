"""What servers will say tomorrow: it is kept as it came, goes back as it came, and is no error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mistral_client
from mistral_client import (
    AuthenticationError,
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
    ChatMessage,
    ContentChunk,
    EmbeddingResponse,
    FinishReason,
    HTTPValidationError,
    InvalidRequestError,
    MistralAPIStatusException,
    ModelCard,
    ModelDeleted,
    ModelList,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UsageInfo,
)

from .conftest import HELLO, http
from .test_models import CARD_OF_TODAY, EARLY_CARD

KEY = "sesame"
# Where all flavours share the code that is tried, one of them will do.
one_flavour = pytest.mark.parametrize("flavour", ["sync"])


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def back(answer):
    return answer.model_dump_json(exclude_unset=True, by_alias=True).encode()


def canonical(data):
    """As text, because in Python 1, 1.0 and True are equal."""
    return json.dumps(json.loads(data), sort_keys=True)


def turned(value):
    """The same JSON with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [*map(turned, value)] if isinstance(value, list) else value


# --- documents of today and of the future, with known fields in the order of our types ---

FUTURE = {"x_news": {"deep": [1, None, True, 2**70, 0.5, "é\u2028\x00"]}, "x_null": None, "model_x": ""}
USAGE = {"prompt_tokens": 4, "total_tokens": 40, "completion_tokens": 36}
USAGES = {
    "of today": USAGE,
    "early, of embeddings": {"prompt_tokens": 4, "total_tokens": 4},
    "null": {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": None},
    "with details": {
        **USAGE,
        "num_cached_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 2},
        "prompt_audio_seconds": 1.5,
        "service_tier": "standard",
    },
    "of the future": {**USAGE, **FUTURE},
}

CALL = {"id": "pcZFHqej8", "type": "function", "function": {"name": "f", "arguments": '{"city": "Paris"}'}, "index": 0}
CALLS = {
    "of today": CALL,
    "without a type": {"id": "pcZFHqej8", "function": {"name": "f", "arguments": ""}},
    "null for a type": {"id": "pcZFHqej8", "type": None, "function": {"name": "f", "arguments": ""}},
    "with an object of arguments": {**CALL, "function": {"name": "f", "arguments": {"city": "Paris", "n": 1.0}}},
    "of a type of the future": {**CALL, "type": "hologram", **FUTURE},
    "of a function of the future": {**CALL, "function": {"name": "f", "arguments": "{}", **FUTURE}},
    "without a function": {"id": "call_1", "type": "custom", "index": 0, "custom": {"name": "f", "input": "x"}},
}
IN_PIECES = [
    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}, "index": 0},
    {"function": {"arguments": '{"a":'}, "index": 0},
    {"function": {"arguments": "1}"}, "index": 0},
]

CHUNKS = {
    "text": {"type": "text", "text": "a"},
    "text of the future": {"type": "text", "text": "a", "annotations": [], **FUTURE},
    "image": {"type": "image_url", "image_url": "https://example.com/a.png"},
    "image of the future": {"type": "image_url", "image_url": {"url": "data:,", "detail": "low", **FUTURE}},
    "document": {"type": "document_url", "document_url": "https://example.com/a.pdf", "document_name": None},
    "reference": {"type": "reference", "reference_ids": [1, "1", 2]},
    "file": {"type": "file", "file_id": "f"},
    "thinking": {"type": "thinking", "thinking": [{"type": "text", "text": "a"}], "closed": True, "signature": "s"},
    "thinking of the future": {"type": "thinking", "thinking": [{"type": "tool_reference", **FUTURE}], **FUTURE},
    "audio": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    "resource": {"type": "resource", "uri": "file:///a", "content": [{"type": "text", "text": "a"}]},
    "resource link": {"type": "resource_link", "uri": "file:///a", "metadata": {}},
    "unknown": {"type": "hologram", "depth": 3},
    "unknown, with names that we use": {"type": "hologram", "text": 1, "thinking": None, "raw": {}, **FUTURE},
}
MESSAGES = {
    "text": {"role": "assistant", "content": "hi"},
    "nothing": {"role": "assistant", "content": "", "tool_calls": None},
    "null": {"role": "assistant", "content": None, "tool_calls": [CALL], "prefix": False},
    "chunks": {"role": "assistant", "content": [*CHUNKS.values()]},
    "reasoning": {"role": "assistant", "content": "hi", "reasoning_content": "well"},
    "future": {"role": "assistant", "content": [CHUNKS["unknown"]], "tool_calls": [CALL], **FUTURE},
    "another role": {"role": "critic", "content": "no", "name": "c"},
    "a tool's": {"role": "tool", "content": "42", "name": "f", "tool_call_id": "pcZFHqej8", **FUTURE},
}
CARDS = {
    "early": EARLY_CARD,
    "early, of the future": {**EARLY_CARD, "permission": [{"id": "p", "allow_flight": True, **FUTURE}], **FUTURE},
    "OpenAI's": {"id": "m", "object": "model", "created": 1782199134, "owned_by": "library"},
    "bare": {"id": "m"},
    "of today": CARD_OF_TODAY,
    "of today, whole": {
        **CARD_OF_TODAY,
        "deprecation": "2026-12-01T00:00:00Z",
        "deprecation_replacement_model": "mistral-medium",
        "internal": False,
        "billing_model_name": None,
        "capabilities": {
            "completion_chat": True,
            "function_calling": True,
            "reasoning": False,
            "completion_fim": False,
            "fine_tuning": False,
            "vision": True,
            "ocr": False,
            "classification": False,
            "moderation": False,
            "audio": False,
            "audio_transcription": False,
            "unified_resources": True,
        },
        **FUTURE,
    },
    "fine-tuned": {
        "id": "ft:open-mistral-7b:1234:20260101:abcd",
        "object": "model",
        "created": 1782199134,
        "owned_by": "me",
        "root": "open-mistral-7b",
        "capabilities": {"completion_chat": True, "levitation": 0.5},
        "max_context_length": 32768,
        "job": "7d1f0c9e-0000-4000-8000-000000000000",
        "archived": False,
        "type": "fine-tuned",
    },
    "of the future": {"id": "m", "object": "mind", "created": None, "owned_by": None, "type": "quantum", **FUTURE},
    "with names that we use": {"id": "m", "copy": 1, "json": 2, "model_dump": 3, "model_extra": 4, "_x": 5, "": 6},
}
VECTORS = {
    "floats": {"object": "embedding", "embedding": [0.5, -0.25, 0.001, 0.0], "index": 0},
    "base64": {"object": "embedding", "embedding": "AAAA", "index": 0},
    "future": {"object": "embedding", "embedding": [], "index": 0, "dtype": "float4", **FUTURE},
}


def answer(message, **more):
    choice = {"index": 0, "finish_reason": "stop", "message": message, **more}
    head = {"id": "74b5a04853d2428f8c69b8b35dc2d30b", "object": "chat.completion", "created": 1782199134, "model": "m"}
    return {**head, "choices": [choice], "usage": USAGE}


def chunk_of(delta, finish_reason=None, usage=None, **more):
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason, **more}]
    document = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return {**document, "usage": usage} if usage else document


LOGPROBS = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "token_id": 7, "top_logprobs": []}]}
DOCUMENTS = {
    **{f"usage {name}": (UsageInfo, usage) for name, usage in USAGES.items()},
    **{f"message: {name}": (ChatMessage, message) for name, message in MESSAGES.items()},
    **{f"chunk of content: {n}": (ChatMessage, {"role": "user", "content": [c]}) for n, c in CHUNKS.items()},
    **{f"call {n}": (ChatMessage, {"role": "assistant", "content": "", "tool_calls": [c]}) for n, c in CALLS.items()},
    **{f"card: {name}": (ModelCard, card) for name, card in CARDS.items()},
    "answer of the future": (
        ChatCompletionResponse,
        {**answer(MESSAGES["future"], logprobs=LOGPROBS, **FUTURE), "usage": USAGES["of the future"], **FUTURE},
    ),
    "answer with another reason": (ChatCompletionResponse, answer(MESSAGES["text"]) | {"service_tier": "x"}),
    "chunk": (ChatCompletionStreamResponse, chunk_of({"role": "assistant", "content": ""})),
    "early chunk": (
        ChatCompletionStreamResponse,
        {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]},
    ),
    "last chunk": (ChatCompletionStreamResponse, chunk_of({"content": ""}, "stop", USAGES["with details"])),
    "chunk of the future": (
        ChatCompletionStreamResponse,
        {
            **chunk_of({"role": "critic", "content": [*CHUNKS.values()], **FUTURE}, "bored", logprobs=LOGPROBS),
            "p": "abc",
            **FUTURE,
        },
    ),
    "chunk with a call": (ChatCompletionStreamResponse, chunk_of({"content": "", "tool_calls": [CALL]}, "tool_calls")),
    "chunk with a call in pieces": (ChatCompletionStreamResponse, chunk_of({"tool_calls": IN_PIECES})),
    "chunk with nothing in it": (
        ChatCompletionStreamResponse,
        {"id": "1", "model": "m", "choices": [], "usage": USAGE},
    ),
    **{
        f"embeddings: {name}": (
            EmbeddingResponse,
            {"id": "1", "object": "list", "data": [vector], "model": "m", "usage": USAGE, **FUTURE},
        )
        for name, vector in VECTORS.items()
    },
    "models": (ModelList, {"object": "list", "data": [*CARDS.values()], **FUTURE}),
    "deletion": (ModelDeleted, {"id": "m", "object": "model", "deleted": True, **FUTURE}),
}


@pytest.mark.parametrize(("kind", "document"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_comes_back_byte_for_byte(kind, document):
    assert back(kind.model_validate_json(compact(document))) == compact(document)


@pytest.mark.parametrize(("kind", "document"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_comes_back_whatever_the_order_of_its_fields(kind, document):
    other_way_round = json.dumps(turned(document), indent=1)
    assert canonical(back(kind.model_validate_json(other_way_round))) == canonical(compact(document))


@pytest.mark.parametrize(("kind", "document"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_comes_back_from_python_objects(kind, document):
    assert back(kind.model_validate(document)) == compact(document)
    assert back(kind.model_validate(kind.model_validate(document).model_dump(exclude_unset=True))) == compact(document)


NAMES = {
    name
    for kind in (getattr(mistral_client, known) for known in mistral_client.__all__)
    for name in getattr(kind, "model_fields", ())
} | {"schema"}
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**300])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
extras = st.dictionaries(st.text().filter(lambda name: name not in NAMES), values, max_size=3)


def widened(value, extra):
    """With these fields in every object, at any depth."""
    if isinstance(value, dict):
        return {**{name: widened(inner, extra) for name, inner in value.items()}, **extra}
    return [widened(inner, extra) for inner in value] if isinstance(value, list) else value


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*DOCUMENTS]), extras)
def test_any_json_in_any_unknown_field_survives(name, extra):
    kind, document = DOCUMENTS[name]
    sent = compact(widened(document, extra))
    assert canonical(back(kind.model_validate_json(sent))) == canonical(sent)


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text(), st.text())
def test_any_word_may_be_a_role_a_reason_or_a_type(role, reason, word):
    kinds = {"text", "image_url", "document_url", "reference", "file", "thinking", "input_audio"}
    content = [{"type": word}] if word not in kinds else []
    sent = answer({"role": role, "content": content, "tool_calls": [{**CALL, "type": word}]}) | {"object": word}
    sent["choices"][0]["finish_reason"] = reason
    assert back(ChatCompletionResponse.model_validate_json(compact(sent))) == compact(sent)


def test_whole_numbers_in_a_vector_are_the_same_numbers():
    vector = {"object": "embedding", "embedding": [1, -128, 127, 0], "index": 0}
    document = {"id": "1", "object": "list", "data": [vector], "model": "m", "usage": USAGE}
    received = EmbeddingResponse.model_validate_json(compact(document))
    assert json.loads(back(received)) == document
    assert {type(number) for number in received.data[0].embedding} == {int}


def test_what_is_unknown_is_an_attribute():
    kind, document = DOCUMENTS["answer of the future"]
    received = kind.model_validate_json(compact(document))
    assert received.x_news == FUTURE["x_news"]
    assert received.choices[0].logprobs.model_dump(exclude_unset=True) == LOGPROBS
    assert received.usage.model_x == ""
    chunk = received.choices[0].message.content[0]
    assert (type(chunk), chunk.type, chunk.depth) == (ContentChunk, "hologram", 3)
    assert received.choices[0].finish_reason is FinishReason.stop
    assert ModelCard.model_validate(CARDS["fine-tuned"]).job.startswith("7d1f")


# --- over the wire ---


def serve(raw_server, *documents):
    return raw_server(*([http(compact(document))] for document in documents))


def serve_stream(raw_server, *documents):
    events = b"".join(b"data: " + compact(document) + b"\n\n" for document in documents)
    return raw_server([http(events + b"data: [DONE]\n\n", "200 OK", "text/event-stream")])


@pytest.mark.parametrize(
    ("call", "arguments", "name"),
    [
        ("chat", (HELLO, "m"), "answer of the future"),
        ("embeddings", ("m", "x"), "embeddings: future"),
        ("list_models", (), "models"),
    ],
)
def test_an_answer_of_the_future_arrives_whole(make_client, raw_server, call, arguments, name):
    kind, document = DOCUMENTS[name]
    received = getattr(make_client(KEY, serve(raw_server, document).url), call)(*arguments)
    assert isinstance(received, kind)
    assert back(received) == compact(document)


def test_a_stream_of_the_future_arrives_whole(make_client, raw_server):
    names = ["early chunk", "chunk", "chunk with nothing in it", "chunk of the future"]
    documents = [DOCUMENTS[name][1] for name in names]
    received = [*make_client(KEY, serve_stream(raw_server, *documents).url).chat_stream(HELLO, "m")]
    assert [*map(back, received)] == [*map(compact, documents)]


def test_a_streamed_call_in_pieces_arrives_whole(make_client, raw_server):
    """The way of servers that speak the same wire; Mistral's sends a call as one."""
    documents = [chunk_of({"tool_calls": [piece]}) for piece in IN_PIECES]
    documents.append(chunk_of({}, "tool_calls", USAGE))
    received = [*make_client(KEY, serve_stream(raw_server, *documents).url).chat_stream(HELLO, "m")]
    assert [*map(back, received)] == [*map(compact, documents)]
    pieces = [call for chunk in received for call in chunk.choices[0].delta.tool_calls or ()]
    assert "".join(call.function.arguments for call in pieces) == '{"a":1}'


def body(request):
    return request.partition(b"\r\n\r\n")[2]


def sent_back(make_client, raw_server, message):
    """The message of an answer as the next request has it."""
    server = serve(raw_server, answer(message), answer(message))
    client = make_client(KEY, server.url)
    received = client.chat(HELLO, "m").choices[0].message
    client.chat([*HELLO, received, *HELLO], "m")
    return body(server.requests[1])


def test_a_message_of_the_future_goes_back_as_it_came(make_client, raw_server):
    message = MESSAGES["future"]
    assert sent_back(make_client, raw_server, message) == compact({"model": "m", "messages": [*HELLO, message, *HELLO]})


SENDABLE = {name: message for name, message in MESSAGES.items() if message["role"] != "critic"}


@one_flavour
@pytest.mark.parametrize("message", SENDABLE.values(), ids=SENDABLE)
def test_a_message_goes_back_as_it_came(make_client, raw_server, message):
    assert compact(message) in sent_back(make_client, raw_server, message)


@one_flavour
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_goes_back_as_it_came(make_client, raw_server, call):
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    assert compact(message) in sent_back(make_client, raw_server, message)


def test_content_of_a_stream_goes_back_as_it_came(make_client, raw_server):
    content = [*CHUNKS.values()]
    server = serve_stream(raw_server, chunk_of({"role": "assistant", "content": content}, "stop"))
    client = make_client(KEY, server.url)
    (received,) = client.chat_stream(HELLO, "m")
    delta = received.choices[0].delta
    for message in (
        {"role": "assistant", "content": delta.content},
        ChatMessage(role=delta.role, content=delta.content),
        json.loads(back(delta)),
    ):
        [*client.chat_stream([message, *HELLO], "m")]
        sent = {"model": "m", "messages": [{"role": "assistant", "content": content}, *HELLO], "stream": True}
        assert body(server.requests[-1]) == compact(sent)


def test_text_is_sent_as_it_is(make_client, raw_server):
    """No normal form, no escapes that somebody could count."""
    text = "a\u2028b\u0301 \U0001f9c0 \x7f </script> \ufeff\ufffd"
    assert sent_back(make_client, raw_server, {"role": "assistant", "content": text}) == compact(
        {"model": "m", "messages": [*HELLO, {"role": "assistant", "content": text}, *HELLO]}
    )


# --- errors in the server's own words ---


def flat(message, type=None, code=None, **more):
    return {"object": "error", "message": message, "type": type, "param": None, "code": code, **more}


def invalid(*where, msg="Extra inputs are not permitted"):
    return {"type": "extra_forbidden", "loc": ["body", *where], "msg": msg, "input": 1, "url": "https://example.com"}


MISPLACED = "Unexpected role 'user' after role 'tool'"
WRONG_ID = "Tool call id was null but must be a-z, A-Z, 0-9, with a length of 9."
TOO_LONG = "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"
SPLIT = "Too many inputs in request, split into more batches."
FULL = "Service tier capacity exceeded for this model."
EXTRA = "Extra inputs are not permitted"
LOST = "no Route matched with those values"
ID = "0123456789abcdef0123456789abcdef"

# status, body, then what the error is, says and holds: kind, message, type, code, request id
ERRORS = {
    "model": (
        400,
        flat("Invalid model: x", "invalid_model", "1500"),
        (InvalidRequestError, "Invalid model: x", "invalid_model", "1500", None),
    ),
    "order": (
        400,
        flat(MISPLACED, "invalid_request_message_order", "3230"),
        (InvalidRequestError, MISPLACED, "invalid_request_message_order", "3230", None),
    ),
    "call id": (
        400,
        flat(WRONG_ID, "invalid_function_call", "3280"),
        (InvalidRequestError, WRONG_ID, "invalid_function_call", "3280", None),
    ),
    "length": (
        400,
        flat(TOO_LONG, "invalid_request_invalid_args", "3051"),
        (InvalidRequestError, TOO_LONG, "invalid_request_invalid_args", "3051", None),
    ),
    "batches": (
        400,
        flat(SPLIT, "invalid_request_prompt", "3210"),
        (InvalidRequestError, SPLIT, "invalid_request_prompt", "3210", None),
    ),
    "no code": (
        400,
        flat("Too many tokens in batch. Max is 16384 got 17555", "invalid_request_error"),
        (
            InvalidRequestError,
            "Too many tokens in batch. Max is 16384 got 17555",
            "invalid_request_error",
            None,
            None,
        ),
    ),
    "code as a number": (
        400,
        flat("no", "BadRequestError", 400),
        (InvalidRequestError, "no", "BadRequestError", "400", None),
    ),
    "application's 401": (
        401,
        {"detail": "Unauthorized"},
        (AuthenticationError, "Unauthorized", None, None, None),
    ),
    "gateway's 401": (
        401,
        {"message": "Unauthorized", "request_id": ID},
        (AuthenticationError, "Unauthorized", None, None, ID),
    ),
    "documented 401": (
        401,
        flat("Invalid API key", "authentication_error", "invalid_api_key"),
        (AuthenticationError, "Invalid API key", "authentication_error", "invalid_api_key", None),
    ),
    "guardrail": (
        403,
        flat("Blocked by a guardrail", "moderation", "4000"),
        (PermissionDeniedError, "Blocked by a guardrail", "moderation", "4000", None),
    ),
    "unknown path": (
        404,
        {"message": LOST, "request_id": ID},
        (NotFoundError, LOST, None, None, ID),
    ),
    "unknown model": (
        404,
        flat("No such model", "invalid_request_error", "unknown_model"),
        (NotFoundError, "No such model", "invalid_request_error", "unknown_model", None),
    ),
    "list of details": (
        422,
        {"detail": [invalid("x")]},
        (HTTPValidationError, f"x: {EXTRA}", None, None, None),
    ),
    "list of deeper details": (
        422,
        {"detail": [invalid("stream_options", "include_usage"), invalid("messages", 0, "role", msg="no")]},
        (HTTPValidationError, f"stream_options.include_usage: {EXTRA}; messages.0.role: no", None, None, None),
    ),
    "details in the message": (
        422,
        flat({"detail": [invalid("x")]}, "invalid_request_error"),
        (HTTPValidationError, f"x: {EXTRA}", "invalid_request_error", None, None),
    ),
    "one detail in the message": (
        422,
        flat({"detail": "Unprocessable"}, "invalid_request_error"),
        (HTTPValidationError, "Unprocessable", "invalid_request_error", None, None),
    ),
    "one detail": (
        422,
        {"detail": "Unprocessable"},
        (HTTPValidationError, "Unprocessable", None, None, None),
    ),
    "rate": (
        429,
        flat("Rate limit exceeded", "rate_limited", "1300", raw_status_code=429),
        (RateLimitError, "Rate limit exceeded", "rate_limited", "1300", None),
    ),
    "early rate": (
        429,
        {"message": "Requests rate limit exceeded"},
        (RateLimitError, "Requests rate limit exceeded", None, None, None),
    ),
    "capacity": (
        429,
        flat(FULL, "service_tier_capacity_exceeded", "3505"),
        (RateLimitError, FULL, "service_tier_capacity_exceeded", "3505", None),
    ),
    "capacity as 503": (
        503,
        flat(FULL, "invalid_request_error", "3505"),
        (ServerError, FULL, "invalid_request_error", "3505", None),
    ),
    "failure": (
        500,
        flat("Service unavailable.", "internal_server_error", "3000"),
        (ServerError, "Service unavailable.", "internal_server_error", "3000", None),
    ),
    "backend": (
        503,
        flat("Internal server error", "unreachable_backend", "1100"),
        (ServerError, "Internal server error", "unreachable_backend", "1100", None),
    ),
    "OpenAI's": (
        401,
        {"error": {"message": "Incorrect API key", "type": "invalid_request_error", "code": "invalid_api_key"}},
        (AuthenticationError, "Incorrect API key", "invalid_request_error", "invalid_api_key", None),
    ),
    "OpenAI's, with numbers": (
        400,
        {"error": {"message": "no", "type": "x", "param": None, "code": 400}},
        (InvalidRequestError, "no", "x", "400", None),
    ),
    "one word": (500, {"error": "out of cheese"}, (ServerError, "out of cheese", None, None, None)),
    "a string": (500, "out of cheese", (ServerError, "out of cheese", None, None, None)),
    "status of the future": (
        499,
        flat("too late", "brand_new", "9999", **FUTURE),
        (InvalidRequestError, "too late", "brand_new", "9999", None),
    ),
    "lock": (
        409,
        flat("locked", "conflict", "resource_locked"),
        (MistralAPIStatusException, "locked", "conflict", "resource_locked", None),
    ),
    "page": (
        502,
        b"<html><head><title>x</title></head><body><h1>502 Bad Gateway</h1><hr>nginx</body></html>",
        (ServerError, "502 Bad Gateway nginx", None, None, None),
    ),
    "plain text": (
        503,
        b"upstream connect error\n",
        (ServerError, "upstream connect error", None, None, None),
    ),
    "nothing": (
        500,
        b"",
        (ServerError, "the server answered 500 and gave no reason", None, None, None),
    ),
}


def error_of(client, kind, call="chat"):
    with pytest.raises(kind) as raised:
        [*getattr(client, call)(HELLO, "m")]
    error = raised.value
    return error, (type(error), error.message, error.type, error.code, error.request_id)


def failing(raw_server, status, said, *headers):
    data = said if isinstance(said, bytes) else compact(said)
    content_type = "text/html" if isinstance(said, bytes) else "application/json; charset=utf-8"
    return raw_server([http(data, f"{status} No", content_type, *headers)])


@one_flavour
@pytest.mark.parametrize(("status", "said", "expected"), ERRORS.values(), ids=ERRORS)
def test_an_error_has_the_servers_words(make_client, raw_server, status, said, expected):
    client = make_client(KEY, failing(raw_server, status, said).url, 0)
    error, seen = error_of(client, expected[0])
    assert seen == expected
    assert error.http_status == status
    assert error.body == (said if isinstance(said, bytes) else compact(said)).decode()[:10_000]


@pytest.mark.parametrize("call", ["chat", "chat_stream"])
def test_an_error_has_the_servers_words_in_every_flavour(make_client, raw_server, call):
    status, said, (kind, *words) = ERRORS["gateway's 401"]
    client = make_client(KEY, failing(raw_server, status, said).url, 0)
    assert error_of(client, kind, call)[1] == (kind, *words)


@one_flavour
@pytest.mark.parametrize("name", ["mistral-correlation-id", "x-request-id", "x-kong-request-id"])
def test_the_request_id_of_a_header(make_client, raw_server, name):
    status, said, (kind, *words) = ERRORS["rate"]
    client = make_client(KEY, failing(raw_server, status, said, f"{name}: {ID}").url, 0)
    assert error_of(client, kind)[1] == (kind, *words[:3], ID)


# Events in mid-stream; the page and the empty body cannot be told from a broken chunk.
STREAMED = {name: row for name, row in ERRORS.items() if isinstance(row[1], dict) and "error" in str(row[1])[:12]}


@one_flavour
@pytest.mark.parametrize(("status", "said", "expected"), STREAMED.values(), ids=STREAMED)
def test_an_error_in_a_stream_has_the_servers_words(make_client, raw_server, status, said, expected):
    server = serve_stream(raw_server, chunk_of({"content": "Camem"}), said)
    error, seen = error_of(make_client(KEY, server.url, 0), ServerError, "chat_stream")
    assert seen == (ServerError, *expected[1:])
    assert error.text == "Camem"


@one_flavour
@pytest.mark.parametrize(("status", "said", "expected"), STREAMED.values(), ids=STREAMED)
def test_an_error_under_the_status_of_success_has_the_servers_words(make_client, raw_server, status, said, expected):
    client = make_client(KEY, failing(raw_server, 200, said).url, 0)
    with pytest.raises(mistral_client.MistralAPIException) as raised:
        client.chat(HELLO, "m")
    error = raised.value
    assert (error.message, error.type, error.code, error.request_id) == expected[1:]
