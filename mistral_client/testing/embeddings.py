"""Answers to requests for embeddings."""

from __future__ import annotations

import base64
import math
import random
import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from mistral_client.models.common import UsageInfo
from mistral_client.models.embeddings import EmbeddingObject, EmbeddingRequest, EmbeddingResponse

from .answer import Answer, UnanswerableError, written
from .request import EMBEDDINGS, Request, parse

Vector = Sequence[float]

_DIMENSIONS = 1024
"""Of `mistral-embed`."""

_PACKED = {"float": "f", "int8": "b", "binary": "b", "uint8": "B", "ubinary": "B"}


@dataclass(frozen=True)
class EmbeddingsReply:
    """vectors: one for each text of the input, or by their texts; None for any, the same one for the same text."""

    vectors: Sequence[Vector] | Mapping[str, Vector] | None

    def answers(self, request: Request) -> bool:
        return request.method == "POST" and request.path == EMBEDDINGS

    def answer(self, request: Request) -> Answer:
        asked = cast("EmbeddingRequest", parse(request))
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        data = [
            EmbeddingObject(object="embedding", embedding=_encoded(vector, asked), index=index)
            for index, vector in enumerate(self._vectors(texts, asked))
        ]
        read = sum(len(text.split()) for text in texts)
        usage = UsageInfo(prompt_tokens=read, total_tokens=read, completion_tokens=0)
        answer = EmbeddingResponse(id=uuid.uuid4().hex, object="list", data=data, model=asked.model, usage=usage)
        return Answer(written(answer.model_dump(exclude_unset=True)).encode())

    def _vectors(self, texts: Sequence[str], asked: EmbeddingRequest) -> Sequence[Vector]:
        if self.vectors is None:
            if asked.output_dtype not in {None, "float"}:
                raise UnanswerableError(f"reply_embeddings() makes up floats, but output_dtype is {asked.output_dtype}")
            return [_made_up(text, asked.output_dimension or _DIMENSIONS) for text in texts]
        if isinstance(self.vectors, Mapping):
            missing = next((text for text in texts if text not in self.vectors), None)
            if missing is not None:
                raise UnanswerableError(f"reply_embeddings(): there is no vector for {missing!r}")
            return [self.vectors[text] for text in texts]
        if len(self.vectors) != len(texts):
            raise UnanswerableError(
                f"reply_embeddings(): vectors for {len(self.vectors)} texts, but {len(texts)} are asked for"
            )
        return self.vectors

    def __str__(self) -> str:
        return "reply_embeddings()"


def _encoded(vector: Vector, asked: EmbeddingRequest) -> list[float] | str:
    if asked.encoding_format != "base64":
        return [*vector]
    packed = struct.pack(f"<{len(vector)}{_PACKED[asked.output_dtype or 'float']}", *vector)
    return base64.b64encode(packed).decode()


def _made_up(text: str, dimensions: int) -> list[float]:
    """A direction drawn from the text: of unit norm, and as far from others as chance has it."""
    drawn = random.Random(text)  # noqa: S311  # as a hash
    numbers = [drawn.gauss(0, 1) for _ in range(dimensions)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]
