"""Any number of texts as vectors, in as many requests as it takes. Performs no I/O: a flow, see `_flow`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

from . import _calls
from ._calls import Call, EmbeddingOptions
from ._flow import Flow, Together
from .exceptions import ArgumentError, ConfigurationError, InvalidRequestError, MistralException, ProtocolError
from .models.common import UsageInfo
from .models.embeddings import EmbeddingObject, EmbeddingResponse

Progress = Callable[[int, int | None], object] | bool | None
"""Told how many texts have their vectors and how many there are, if that is known. True draws a bar, by tqdm."""

BATCH_SIZE = 512
"""The most texts that Mistral's API takes in a request."""

MAX_BATCH_TOKENS = 16_384
"""The most tokens that it takes in one."""

_BYTES_PER_TOKEN = 2
"""Of UTF-8, so that estimates are rather too high.

By the vocabulary of tokenizer v1 English has 3.8, code 3.5, German 3.7, Chinese 2.8, Arabic 1.9; columns of digits have
1. A batch that is too large all the same is split when the server says so.
"""

_TOO_MUCH = "3210"
"""The code of "Too many inputs in request, split into more batches" and "Too many tokens overall, ..."."""


def embed_all(
    model: str,
    texts: str | Iterable[str],
    batch_size: int,
    max_batch_tokens: int,
    max_concurrent_requests: int,
    progress: Progress,
    options: EmbeddingOptions,
) -> Flow[EmbeddingResponse]:
    """The flow of `MistralClient.embed_all`."""
    numbers: dict[str, object] = {
        "batch_size": batch_size,
        "max_batch_tokens": max_batch_tokens,
        "max_concurrent_requests": max_concurrent_requests,
    }
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{name}: {value!r} is not a whole number above 0")
    _calls.embeddings(model, [], options)  # raises for wrong options, which are not the fault of a batch
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, Iterable):
        raise ArgumentError(f"texts: {type(texts).__name__} is no iterable of texts")
    answers: dict[int, EmbeddingResponse] = {}
    batches = _batches(texts, batch_size, max_batch_tokens)
    with _reporting(progress, len(texts) if isinstance(texts, Sized) else None) as report:
        ready = 0

        def done(place: int, answer: EmbeddingResponse) -> None:
            nonlocal ready
            answers[place] = answer
            ready += len(answer.data)
            report(ready)

        try:
            yield Together((_batch(model, *batch, options) for batch in batches), max_concurrent_requests, done)
        except MistralException as error:
            error.embeddings = _joined(model, answers)
            raise
    return _joined(model, answers)


def _batches(texts: Iterable[str], batch_size: int, max_batch_tokens: int) -> Iterator[tuple[int, list[str]]]:
    """Texts for a request each, and the place of the first among all; a text too large by itself is alone."""
    start, batch, tokens = 0, list[str](), 0
    for text in texts:
        estimate = _tokens(text)
        if batch and (len(batch) == batch_size or tokens + estimate > max_batch_tokens):
            yield start, batch
            start, batch, tokens = start + len(batch), [], 0
        batch.append(text)
        tokens += estimate
    if batch:
        yield start, batch


def _tokens(text: object) -> int:
    """About how many tokens; what is no text is found out when its request is built."""
    return 1 + len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN if isinstance(text, str) else 0


def _batch(
    model: str, start: int, texts: list[str], options: EmbeddingOptions
) -> Generator[Call[EmbeddingResponse], Any, EmbeddingResponse]:
    """The vectors of some texts, with their places among all. A batch that the server finds too large is split."""
    try:
        answer: EmbeddingResponse = yield _calls.embeddings(model, texts, options)
        data = sorted(answer.data, key=lambda each: each.index)
        if [each.index for each in data] != [*range(len(texts))]:
            raise ProtocolError(f"the answer to {len(texts)} texts has {len(data)} vectors, or wrong places for them")
    except MistralException as error:
        if not _is_too_large(error) or len(texts) == 1:
            error.batch = range(start, start + len(texts))
            raise
    else:
        for place, each in enumerate(data, start):
            each.index = place
        return answer.model_copy(update={"data": data})
    half = len(texts) // 2
    first = yield from _batch(model, start, texts[:half], options)
    second = yield from _batch(model, start + half, texts[half:], options)
    return _joined(model, {0: first, 1: second})


def _is_too_large(error: MistralException) -> bool:
    return isinstance(error, InvalidRequestError) and (error.code == _TOO_MUCH or error.http_status == 413)


def _joined(model: str, answers: dict[int, EmbeddingResponse]) -> EmbeddingResponse:
    """Answers as one, by their keys: the words of the last that came, and the sum of what was used."""
    data: list[EmbeddingObject] = [each for key in sorted(answers) for each in answers[key].data]
    usages = [answer.usage for answer in answers.values()]
    usage = UsageInfo(
        prompt_tokens=sum(each.prompt_tokens for each in usages),
        total_tokens=sum(each.total_tokens for each in usages),
        completion_tokens=sum(each.completion_tokens or 0 for each in usages),
    )
    if not answers:
        return EmbeddingResponse(object="list", data=[], model=model, usage=usage)
    return [*answers.values()][-1].model_copy(update={"data": data, "usage": usage})


@contextmanager
def _reporting(progress: Progress, total: int | None) -> Iterator[Callable[[int], object]]:
    """What is told how many texts are done."""
    if progress is not True:
        yield (lambda ready: progress(ready, total)) if progress else lambda _: None
        return
    try:
        from tqdm.auto import tqdm  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError("progress=True needs tqdm: pip install tqdm") from error
    with tqdm(total=total, unit="text") as bar:
        yield lambda ready: bar.update(ready - bar.n)
