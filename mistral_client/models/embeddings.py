"""`POST /v1/embeddings`."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from .common import Answer, JSONObject, RequestModel, UsageInfo, WireModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


class EmbeddingResponse(Answer):
    """One vector for each text, in the order of the input."""

    id: str | None = None  # llama.cpp's server sends none
    object: str
    data: list[EmbeddingObject]
    model: str
    usage: UsageInfo

    def to_numpy(self, dtype: Literal["float32", "int8", "uint8"] = "float32") -> NDArray[Any]:
        """The vectors as rows of an array, in the order of the input. Shape: texts, dimensions.

        dtype: of the numbers; other than float32 where `output_dtype` asked for others. With `encoding_format="base64"`
        a vector of 1,024 numbers comes in a tenth of the time that it takes as a list.

        Raises `ImportError` without numpy, which `mistral-client[numpy]` brings; `ValueError` for vectors of different
        lengths, and for what is no base64 of such numbers.
        """
        try:
            import numpy as np  # noqa: PLC0415
        except ImportError as error:
            raise ImportError("to_numpy() needs numpy: pip install 'mistral-client[numpy]'") from error
        kind = np.dtype(dtype).newbyteorder("<")
        rows = [each.embedding for each in sorted(self.data, key=lambda each: each.index)]
        return np.array(
            [
                np.frombuffer(base64.b64decode(row, validate=True), kind) if isinstance(row, str) else row
                for row in rows
            ],
            kind,
        )
