"""`POST /v1/chat/completions`: what is asked, and the two forms of the answer, whole and streamed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AliasChoices, Discriminator, Field, Tag, model_validator

from .common import Answer, JSONObject, RequestModel, Tagged, UsageInfo, WireModel


class Role(StrEnum):
    """Who speaks."""

    system = "system"
    user = "user"
    assistant = "assistant"
    tool = "tool"


class FinishReason(StrEnum):
    """Why an answer ended. A server may send others; they arrive as plain text."""

    stop = "stop"
    length = "length"
    model_length = "model_length"
    error = "error"
    tool_calls = "tool_calls"


# --- what a message is made of ---


class ContentChunk(WireModel):
    """A part of a message. Types that have no class here are kept as they came."""

    type: str


class TextChunk(Tagged, ContentChunk):
    """Plain text."""

    type: Literal["text"] = "text"
    text: str


class ImageURLChunk(Tagged, ContentChunk):
    """An image, by address or as a `data:` URL."""

    type: Literal["image_url"] = "image_url"
    image_url: str | JSONObject


class DocumentURLChunk(Tagged, ContentChunk):
    """A document, by address."""

    type: Literal["document_url"] = "document_url"
    document_url: str
    document_name: str | None = None


class ReferenceChunk(Tagged, ContentChunk):
    """Points at sources given earlier in the conversation."""

    type: Literal["reference"] = "reference"
    reference_ids: list[int | str]


class FileChunk(Tagged, ContentChunk):
    """A file that was uploaded before."""

    type: Literal["file"] = "file"
    file_id: str


class ThinkingChunk(Tagged, ContentChunk):
    """What a reasoning model thought before it answered."""

    type: Literal["thinking"] = "thinking"
    thinking: list[Any]
    closed: bool | None = None


class AudioChunk(Tagged, ContentChunk):
    """Sound, as base64 or by address."""

    type: Literal["input_audio"] = "input_audio"
    input_audio: str | JSONObject


_CHUNKS = frozenset({"text", "image_url", "document_url", "reference", "file", "thinking", "input_audio"})


def _chunk_type(chunk: Any) -> str:
    kind = chunk.get("type") if isinstance(chunk, dict) else getattr(chunk, "type", None)
    return kind if isinstance(kind, str) and kind in _CHUNKS else "other"


Chunk = Annotated[
    Annotated[TextChunk, Tag("text")]
    | Annotated[ImageURLChunk, Tag("image_url")]
    | Annotated[DocumentURLChunk, Tag("document_url")]
    | Annotated[ReferenceChunk, Tag("reference")]
    | Annotated[FileChunk, Tag("file")]
    | Annotated[ThinkingChunk, Tag("thinking")]
    | Annotated[AudioChunk, Tag("input_audio")]
    | Annotated[ContentChunk, Tag("other")],
    Discriminator(_chunk_type),
]

Content = str | list[Chunk]


# --- tools ---


class ToolType(StrEnum):
    """The kinds of tool that the early API knew."""

    function = "function"


class Function(RequestModel):
    """A function that the model may call. `parameters` is a JSON schema of its arguments."""

    name: str
    parameters: JSONObject
    description: str | None = None
    strict: bool | None = None


class Tool(Tagged, RequestModel):
    """A tool offered to the model."""

    type: Literal["function"] = "function"
    function: Function


class FunctionCall(WireModel):
    """A call that the model wants made. `arguments` is JSON as text; some servers send the object itself."""

    name: str = ""
    arguments: str | JSONObject = ""


class ToolCall(WireModel):
    """One call of one tool; `id` joins it to the tool message that answers it."""

    id: str = "null"
    type: str | None = ToolType.function
    function: FunctionCall = Field(default_factory=FunctionCall)
    index: int | None = None


class ToolChoice(StrEnum):
    """Whether the model may, must or must not call a tool. `required` is the same as `any`."""

    auto = "auto"
    any = "any"
    none = "none"
    required = "required"


class FunctionName(RequestModel):
    """Names a function."""

    name: str


class NamedToolChoice(Tagged, RequestModel):
    """The model must call this function."""

    type: Literal["function"] = "function"
    function: FunctionName


# --- formats ---


class ResponseFormats(StrEnum):
    """The forms that an answer can be given."""

    text = "text"
    json_object = "json_object"
    json_schema = "json_schema"


class JSONSchema(RequestModel):
    """A schema that the answer must follow.

    On the wire it is called `schema`, and so it may be here; the attribute is `schema_definition`, as in later clients,
    because pydantic has a method `schema`.
    """

    name: str
    schema_definition: JSONObject = Field(
        validation_alias=AliasChoices("schema", "schema_definition"), serialization_alias="schema"
    )
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Tagged, RequestModel):
    """The form of the answer; `json_schema` goes with the type of that name."""

    type: ResponseFormats = ResponseFormats.text
    json_schema: JSONSchema | None = None

    @model_validator(mode="after")
    def _schema_is_there(self) -> Self:
        if (self.type == ResponseFormats.json_schema) != (self.json_schema is not None):
            raise ValueError("type 'json_schema' and a json_schema go together")
        return self


class Prediction(Tagged, RequestModel):
    """Text that the answer is expected to hold, to make it come faster."""

    type: Literal["content"] = "content"
    content: str = ""


# --- messages ---


class ChatMessage(WireModel):
    """One message of a conversation, sent or received.

    role: system, user, assistant or tool.
    content: text, or a list of chunks; None where an assistant only calls tools.
    tool_calls: of an assistant. tool_call_id, name: of a tool's answer.
    prefix: of a last assistant message; the answer goes on from its text.
    """

    role: str
    content: Content | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    prefix: bool | None = None


class DeltaMessage(WireModel):
    """What a chunk adds to the message."""

    role: str | None = None
    content: Content | None = None
    tool_calls: list[ToolCall] | None = None


_ROLES = frozenset(Role)
_WITH_CONTENT = frozenset({Role.system, Role.tool})  # whose messages must have content


def _sendable(message: ChatMessage) -> ChatMessage:
    """An answer may come from any role; a request may not."""
    if message.role not in _ROLES:
        raise ValueError(f"role {message.role!r} is none of {', '.join(Role)}")
    if message.content is None and message.role in _WITH_CONTENT:
        raise ValueError(f"a {message.role} message must have content")
    return message


# Counts that no server could mean, and that native code could not hold.
_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
_MAX_ANSWERS = 128
_MAX_LOGPROBS = 20


class ChatCompletionRequest(RequestModel):
    """The body of a chat request. Ranges are the API's own.

    temperature: 0 (always the likeliest token) to 1.5. top_p: 0 to 1, the share of probability that is drawn from.
    max_tokens: of the answer. stop: texts that end it. random_seed: the same seed gives the same answer.
    n: how many answers.
    """

    model: str
    messages: list[Annotated[ChatMessage, AfterValidator(_sendable)]] = Field(min_length=1)
    temperature: float | None = Field(None, ge=0, le=1.5)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=0, le=_INT32_MAX)
    min_tokens: int | None = Field(None, ge=0, le=_INT32_MAX)
    stream: bool | None = None
    stop: str | list[str] | None = None
    random_seed: int | None = Field(None, ge=0, le=_INT64_MAX)
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Annotated[ToolChoice | NamedToolChoice, Field(union_mode="left_to_right")] | None = None
    parallel_tool_calls: bool | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0)
    top_k: int | None = Field(None, ge=0, le=_INT32_MAX)
    n: int | None = Field(None, ge=1, le=_MAX_ANSWERS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=_MAX_LOGPROBS)
    prompt_logprobs: bool | None = None
    prediction: Prediction | None = None
    prompt_mode: str | None = None
    reasoning_effort: str | None = None
    safe_prompt: bool | None = None
    prompt_cache_key: str | None = None
    guardrails: list[JSONObject] | None = None
    service_tier: str | None = None
    metadata: JSONObject | None = None


# --- answers ---


# Left to right, or pydantic would take every known reason for a plain str as well.
_Reason = Annotated[FinishReason | str, Field(union_mode="left_to_right")]


class TokenLogprob(WireModel):
    """A token and the natural logarithm of its probability; `bytes` are those of its UTF-8."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    token_id: int | None = None
    top_logprobs: list[TokenLogprob] | None = None


class Logprobs(WireModel):
    """The log-probabilities of an answer, or of what a chunk adds to it, token by token."""

    content: list[TokenLogprob] | None = None


# The fields of an answer stand in the order of the wire, and so go back as they came.
class ChatCompletionResponseChoice(WireModel):
    """One answer."""

    index: int
    finish_reason: _Reason | None
    message: ChatMessage
    logprobs: Logprobs | None = None


class ChatCompletionResponseStreamChoice(WireModel):
    """What a chunk adds to one answer."""

    index: int
    delta: DeltaMessage
    finish_reason: _Reason | None = None
    logprobs: Logprobs | None = None


class ChatCompletionResponse(Answer):
    """A whole answer."""

    id: str
    object: str
    created: int
    model: str
    choices: list[ChatCompletionResponseChoice]
    usage: UsageInfo


class ChatCompletionStreamResponse(WireModel):
    """A chunk of a streamed answer. `usage` comes with the chunk that carries the finish reason."""

    id: str
    object: str | None = None
    created: int | None = None
    model: str
    choices: list[ChatCompletionResponseStreamChoice]
    usage: UsageInfo | None = None
