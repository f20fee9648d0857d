"""`POST /v1/embeddings`."""

from __future__ import annotations

from typing import Literal

from .common import JSONObject, RequestModel, UsageInfo, WireModel


class EmbeddingRequest(RequestModel):
    """Texts to turn into vectors.

    input: one text or several. Mistral takes up to 512 texts and 16,384 tokens in a request.
    output_dimension: fewer dimensions than the model's own, where it can.
    """

    model: str
    input: str | list[str]
    output_dimension: int | None = None
    output_dtype: Literal["float", "int8", "uint8", "binary", "ubinary"] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    metadata: JSONObject | None = None


class EmbeddingObject(WireModel):
    """The vector of the text at `index` of the input. A str is base64, where that encoding was asked for."""

    object: str = "embedding"
    embedding: list[float] | str
    index: int


class EmbeddingResponse(WireModel):
    """One vector for each text, in the order of the input."""

    id: str
    object: str
    data: list[EmbeddingObject]
    model: str
    usage: UsageInfo
