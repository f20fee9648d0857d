"""`POST /v1/embeddings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .common import JSONObject, RequestModel, UsageInfo, WireModel


class EmbeddingRequest(RequestModel):
    """Texts to turn into vectors.

    input: one text or several. Mistral takes up to 512 texts and 16,384 tokens in a request.
    output_dimension: fewer dimensions than the model's own, where it can.
    output_dtype: float, or whole numbers that take less room; binary and ubinary are bits, eight to a number.
    encoding_format: base64 for the bytes of each vector as text.
    """

    model: str
    input: str | list[str]
    output_dimension: Annotated[int, Field(ge=1)] | None = None
    output_dtype: Literal["float", "int8", "uint8", "binary", "ubinary"] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    metadata: JSONObject | None = None


class EmbeddingObject(WireModel):
    """The vector of the text at `index` of the input. A str is base64, where that encoding was asked for.

    Whole numbers, which `output_dtype` may ask for, are ints.
    """

    object: str = "embedding"
    embedding: list[float] | list[int] | str
    index: int


class EmbeddingResponse(WireModel):
    """One vector for each text, in the order of the input."""

    id: str | None = None  # llama.cpp's server sends none
    object: str
    data: list[EmbeddingObject]
    model: str
    usage: UsageInfo
