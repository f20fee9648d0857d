"""What a client has sent, without its secrets."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from mistral_client._calls import validation_message
from mistral_client.exceptions import ArgumentError
from mistral_client.models.chat_completion import ChatCompletionRequest
from mistral_client.models.embeddings import EmbeddingRequest
from mistral_client.models.fim import FIMCompletionRequest

CHAT = "/v1/chat/completions"
FIM = "/v1/fim/completions"
EMBEDDINGS = "/v1/embeddings"
MODELS = "/v1/models"

Parsed = ChatCompletionRequest | FIMCompletionRequest | EmbeddingRequest

_KINDS: dict[str, type[Parsed]] = {
    CHAT: ChatCompletionRequest,
    FIM: FIMCompletionRequest,
    EMBEDDINGS: EmbeddingRequest,
}
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})
_SHOWN = 60


@dataclass(eq=False)
class Request:
    """A request that the server got.

    path: without the query. headers: by their names in lower case; of those with secrets the value is `***`.
    time: of its arrival, in seconds on the clock of `time.monotonic`.
    status: of the answer; None where there is none, because the connection was broken.
    """

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    time: float
    status: int | None = None

    secrets: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.secrets = [self.headers[name].split(" ")[-1] for name in SECRET_HEADERS & self.headers.keys()]
        self.headers = {name: "***" if name in SECRET_HEADERS else value for name, value in self.headers.items()}

    @cached_property
    def path(self) -> str:
        return urlsplit(self.target).path

    @cached_property
    def body(self) -> Any:
        """The JSON of the body as dicts and lists; None without a body, and the text where it is no JSON."""
        try:
            return json.loads(self.content) if self.content else None
        except ValueError:
            return self.content.decode("utf-8", "replace")

    @cached_property
    def parsed(self) -> Parsed:
        """The body as a `ChatCompletionRequest`, `FIMCompletionRequest` or `EmbeddingRequest`.

        Raises `ArgumentError` for a body that is none.
        """
        try:
            return parse(self)
        except ValidationError as error:
            raise ArgumentError(validation_message(error)) from None

    @property
    def model(self) -> str | None:
        """The name of the model that is asked."""
        model = self._field("model")
        return model if isinstance(model, str) else None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation; empty in what is no chat."""
        messages = self._field("messages")
        return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []

    @property
    def stream(self) -> bool:
        """Whether the answer is wanted as a stream."""
        return bool(self._field("stream"))

    @property
    def text(self) -> str:
        """What is said last: the text of the last message, the prompt, or the texts to embed, each on a line."""
        said = self.messages[-1].get("content") if self.messages else self._field("prompt") or self._field("input")
        parts = said if isinstance(said, list) else [said]
        texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
        return "\n".join(text for text in texts if isinstance(text, str))

    def _field(self, name: str) -> Any:
        return self.body.get(name) if isinstance(self.body, dict) else None

    def __str__(self) -> str:
        said = self.text if len(self.text) <= _SHOWN else self.text[:_SHOWN] + "…"
        about = [self.model, "as a stream" if self.stream else None, repr(said) if said else None]
        return " ".join([self.method, self.path, *filter(None, about)])


def parse(request: Request) -> Parsed:
    """The body as a type. Raises pydantic's error, and `ArgumentError` where the path takes no body."""
    kind = _KINDS.get(request.path)
    if kind is None:
        raise ArgumentError(f"{request.method} {request.path} has no body of a known type")
    return kind.model_validate(request.body)
