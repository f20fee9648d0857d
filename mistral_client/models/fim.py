"""`POST /v1/fim/completions`; its answers are those of a chat."""

from __future__ import annotations

from pydantic import Field

from .chat_completion import _INT32_MAX, _INT64_MAX
from .common import JSONObject, RequestModel


class FIMCompletionRequest(RequestModel):
    """The body of a request for what stands between two texts, or after one. Ranges are the API's own.

    prompt: the text before. suffix: the text after; without one the answer goes on from the prompt.
    temperature, top_p, max_tokens, stop, random_seed: as in `ChatCompletionRequest`.
    """

    model: str
    prompt: str
    suffix: str | None = None
    temperature: float | None = Field(None, ge=0, le=1.5)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=0, le=_INT32_MAX)
    min_tokens: int | None = Field(None, ge=0, le=_INT32_MAX)
    stream: bool | None = None
    stop: str | list[str] | None = None
    random_seed: int | None = Field(None, ge=0, le=_INT64_MAX)
    prompt_cache_key: str | None = None
    metadata: JSONObject | None = None
