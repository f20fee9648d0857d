"""Embeddings as the wire has them: 1,024 floats of unit norm, whatever width the local model has."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from functools import cache

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from mistral_client.models.common import UsageInfo
from mistral_client.models.embeddings import EmbeddingObject, EmbeddingRequest, EmbeddingResponse

from . import errors
from .model import Model

DIMENSIONS = 1024
"""Of `mistral-embed`."""

MAX_INPUTS = 512
MAX_TOKENS = 16_384
"""Of one request, over all its texts."""


async def embed(model: Model, body: EmbeddingRequest) -> EmbeddingResponse:
    """The answer to a request.

    Raises `WireError` for what this server cannot do, `EngineError` when the model fails.
    """
    if body.output_dimension not in {None, DIMENSIONS}:
        raise errors.not_supported("output_dimension", f"output_dimension={body.output_dimension}")
    if body.output_dtype not in {None, "float"}:
        raise errors.not_supported("output_dtype", f"output_dtype={body.output_dtype!r}")
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > MAX_INPUTS:
        raise errors.too_much_input("Too many inputs in request, split into more batches.")
    prompts = await to_thread.run_sync(lambda: [model.engine.tokenize([text]) for text in texts])
    counted = sum(map(len, prompts))
    if counted > MAX_TOKENS:
        raise errors.too_much_input("Too many tokens overall, split into more batches.")
    for position, prompt in enumerate(prompts):
        if not prompt:
            raise errors.not_supported(f"input.{position}", "an empty text")
    vectors: list[list[float]] = []
    for prompt in prompts:  # one by one: who leaves is noticed in between
        vectors += await to_thread.run_sync(model.engine.embed, [prompt], limiter=model.slots)
    written = _as_base64 if body.encoding_format == "base64" else (lambda row: row.tolist())
    return EmbeddingResponse(
        id=uuid.uuid4().hex,
        object="list",
        data=[
            EmbeddingObject(object="embedding", embedding=written(row), index=index)
            for index, row in enumerate(_fitted(vectors) if vectors else ())
        ],
        model=body.model,
        usage=UsageInfo(prompt_tokens=counted, total_tokens=counted, completion_tokens=0),
    )


def _fitted(vectors: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Vectors as rows of 1,024 numbers and unit norm, cosines kept.

    Shorter ones get zeros at the end, which changes no cosine; longer ones go through a fixed random projection, which
    keeps cosines to within a few hundredths (Johnson and Lindenstrauss).
    """
    rows = np.asarray(vectors, dtype=np.float32)
    width = rows.shape[1]
    if width < DIMENSIONS:
        rows = np.pad(rows, ((0, 0), (0, DIMENSIONS - width)))
    elif width > DIMENSIONS:
        rows = rows @ _projection(width)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms == 0, 1, norms), dtype=np.float32)


@cache
def _projection(width: int) -> NDArray[np.float32]:
    normal = np.random.default_rng(width).standard_normal((width, DIMENSIONS), dtype=np.float32)
    return np.asarray(normal / np.sqrt(DIMENSIONS), dtype=np.float32)


def _as_base64(row: NDArray[np.float32]) -> str:
    """The vector's little-endian float32 bytes, as `encoding_format` base64 has them."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode()
