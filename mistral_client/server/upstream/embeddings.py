"""Embeddings of other servers in Mistral's words."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from mistral_client.models.common import UsageInfo
from mistral_client.models.embeddings import EmbeddingObject, EmbeddingRequest, EmbeddingResponse

from ..embedding_dtype import as_dtype, written


def asked(body: EmbeddingRequest) -> dict[str, Any]:
    """Fields of OpenAI's wire beside the model and the texts. Number types are made of the floats here."""
    return {} if body.output_dimension is None else {"dimensions": body.output_dimension}


def answered(body: EmbeddingRequest, answer: EmbeddingResponse) -> EmbeddingResponse:
    """The same vectors as Mistral would send them. Raises `ValueError` for what are none."""
    rows = answer.to_numpy()
    dtype = body.output_dtype or "float"
    tokens = answer.usage.prompt_tokens
    return EmbeddingResponse(
        id=uuid.uuid4().hex,
        object="list",
        data=[
            EmbeddingObject(
                object="embedding", embedding=written(as_dtype(row, dtype), body.encoding_format), index=index
            )
            for index, row in enumerate(np.asarray(rows, dtype=np.float32))
        ],
        model=body.model,
        usage=UsageInfo(prompt_tokens=tokens, total_tokens=tokens, completion_tokens=0),
    )
