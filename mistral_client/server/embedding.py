"""Embeddings as the wire has them: 1,024 floats of unit norm, whatever width the local model has."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from functools import cache, partial

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from mistral_client.models.common import UsageInfo
from mistral_client.models.embeddings import EmbeddingObject, EmbeddingRequest, EmbeddingResponse

from . import errors
from .admission import Place
from .embedding_dtype import as_dtype, written
from .inspector.call import Call
from .model import Model

DIMENSIONS = 1024
"""Of `mistral-embed`."""

_TOGETHER = 16
"""Texts that an engine is given at once; in between it is noticed that who asked has left."""

MAX_INPUTS = 512
MAX_TOKENS = 16_384
"""Of one request, over all its texts."""


async def embed(model: Model, body: EmbeddingRequest, place: Place, call: Call | None = None) -> EmbeddingResponse:
    """The answer to a request that has this place. call: where to write it down, for the inspector.

    Raises `WireError` for what this server cannot do, `EngineError` when the model fails.
    """
    dimensions = DIMENSIONS if body.output_dimension is None else body.output_dimension
    if dimensions > DIMENSIONS:
        message = f"output_dimension: {dimensions} is more than the {DIMENSIONS} dimensions of the model"
        raise errors.invalid_args("output_dimension", message)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > MAX_INPUTS:
        raise errors.too_much_input("Too many inputs in request, split into more batches.")
    prompts = []
    counted = 0
    for text in texts:  # one by one: who leaves, or brings too much, is noticed in between
        prompts.append(await to_thread.run_sync(model.engine.tokenize, [text], limiter=model.admission.preparing))
        counted += len(prompts[-1])
        if counted > MAX_TOKENS:
            raise errors.too_much_input("Too many tokens overall, split into more batches.")
    for position, prompt in enumerate(prompts):
        if not prompt:
            raise errors.not_supported(f"input.{position}", "an empty text")
    if call is not None:
        call.ready(body.model, counted)
    async with model.admission.slot(place):
        if call is not None:
            call.run()
        rows = np.asarray(await _vectors(model, prompts), dtype=np.float32)
        if prompts and model.common is not None:
            rows = await model.common.removed(rows, model.admission.threads)
    fitted = _unit(_fitted(rows)[:, :dimensions]) if prompts else ()
    return answered(body, fitted, counted)


def answered(body: EmbeddingRequest, rows: Iterable[NDArray[np.float32]], tokens: int) -> EmbeddingResponse:
    """Vectors as the request wants them. tokens: of all its texts."""
    dtype = body.output_dtype or "float"
    return EmbeddingResponse(
        id=uuid.uuid4().hex,
        object="list",
        data=[
            EmbeddingObject(
                object="embedding", embedding=written(as_dtype(row, dtype), body.encoding_format), index=index
            )
            for index, row in enumerate(rows)
        ],
        model=body.model,
        usage=UsageInfo(prompt_tokens=tokens, total_tokens=tokens, completion_tokens=0),
    )


async def _vectors(model: Model, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
    """The vectors of prompts. Those of one length go to the engine together, for it reads them at once."""
    vectors: dict[int, list[float]] = {}
    waiting = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    while waiting:
        some, waiting = waiting[:_TOGETHER], waiting[_TOGETHER:]
        read = partial(model.engine.embed, [prompts[number] for number in some])
        vectors |= zip(some, await to_thread.run_sync(read, limiter=model.admission.threads), strict=True)
    return [vectors[number] for number in range(len(prompts))]


def _fitted(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors as rows of 1,024 numbers, cosines kept.

    Shorter ones get zeros at the end, which changes no cosine; longer ones go through a fixed random projection, which
    keeps cosines to within a few hundredths (Johnson and Lindenstrauss).
    """
    width = rows.shape[1]
    if width < DIMENSIONS:
        rows = np.pad(rows, ((0, 0), (0, DIMENSIONS - width)))
    elif width > DIMENSIONS:
        rows = rows @ _projection(width)
    return rows


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of unit norm; one of zeros, which a cut can leave, stays as it is."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms == 0, 1, norms), dtype=np.float32)


@cache
def _projection(width: int) -> NDArray[np.float32]:
    normal = np.random.default_rng(width).standard_normal((width, DIMENSIONS), dtype=np.float32)
    return np.asarray(normal / np.sqrt(DIMENSIONS), dtype=np.float32)
