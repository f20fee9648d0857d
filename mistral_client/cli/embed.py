"""`mistral-client embed`"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

import click

from mistral_client.exceptions import MistralException

from . import piped
from .completion import files, model_names
from .endpoint import client, endpoint_option
from .failure import Failure

if TYPE_CHECKING:
    from mistral_client.client import MistralClient

BATCH = 32
"""Texts in a request, which may hold 16,384 tokens: enough for texts of up to 512."""


@click.command(
    short_help="Turn texts into vectors.",
    epilog="""
    \b
    Examples:
      mistral-client embed "a red apple" "a green pear"
      mistral-client embed lines.txt -o vectors.npy
      mistral-client embed --field title books.jsonl -o vectors.jsonl
      mistral-client embed < lines.txt > vectors.jsonl
    """,
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...|FILE", shell_complete=files)
@click.option(
    "-m",
    "--model",
    default="mistral-embed",
    show_default=True,
    metavar="NAME",
    shell_complete=model_names,
    help="Name to ask for.",
)
@endpoint_option
@click.option("--field", metavar="NAME", help="The input is JSONL, and this field of each line its text.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=files,
    help="File for the vectors, which is written whole or not at all. One that ends in .npy is an array of float32 for "
    "numpy, a row for each text.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=BATCH,
    show_default=True,
    metavar="N",
    help="Texts in a request.",
)
def embed(
    texts: tuple[str, ...], model: str, endpoint: str, field: str | None, output: str | None, batch_size: int
) -> None:
    """Turn texts into vectors: each TEXT, or each line of FILE or of standard input.

    A single argument is a FILE if there is one of that name, or if it ends in .txt or .jsonl; - is standard input.

    Each text gives one line of JSON, in the same order: {"index": 0, "text": "...", "embedding": [...]}. Empty lines
    are left out and not counted.
    """
    from mistral_client.server.weights.progress import bar

    from .whole_file import whole_file

    given = _texts(texts, field)
    with client(endpoint) as asked, bar("Embedding", len(given), shown=_is_wanted(output), unit=" texts") as done:
        if output is None:
            for line in _lines(given, _vectors(asked, model, given, batch_size, done)):
                click.echo(line, nl=False)
            return
        with whole_file(output) as file:
            vectors = _vectors(asked, model, given, batch_size, done)
            if output.endswith(".npy"):
                _write_npy(file, vectors, len(given))
            else:
                file.writelines(_lines(given, vectors))


def _is_wanted(output: str | None) -> bool:
    """Whether somebody looks at a progress bar, and not at the vectors."""
    is_read = output is None and sys.stdout is not None and sys.stdout.isatty()
    return sys.stderr is not None and sys.stderr.isatty() and not is_read


def _texts(arguments: Sequence[str], field: str | None) -> list[str]:
    """What is to be embedded, read whole, so that what is wrong with it is told before anything is asked."""
    if not arguments:
        if piped.is_terminal():
            raise click.UsageError("There is no text: give it as an argument, or line by line on standard input.")
        arguments = ["-"]
    if len(arguments) > 1 or not _is_file(arguments[0]):
        if field is not None:
            raise click.UsageError("--field is for a file or standard input.")
        if not all(map(str.strip, arguments)):
            raise click.UsageError("A text is empty.")
        return [*arguments]
    file = arguments[0]
    if field is None and file.endswith(".jsonl"):
        raise click.UsageError(f"{file} is JSONL: name the field that holds the text with --field.")
    lines = ((number, line) for number, line in enumerate(piped.lines(file), 1) if line.strip())
    return [
        line if field is None else _field(line, field, f"line {number} of {piped.named(file)}")
        for number, line in lines
    ]


def _is_file(argument: str) -> bool:
    if argument == "-" or argument.endswith((".txt", ".jsonl")):
        return True
    return os.path.exists(argument) and not os.path.isdir(argument)


def _field(line: str, field: str, place: str) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise Failure(f"{place} is not JSON") from None
    text = value.get(field) if isinstance(value, dict) else None
    if not (isinstance(text, str) and text.strip()):
        raise Failure(f"{place} has no text in a field {field!r}")
    return text


def _vectors(
    asked: MistralClient, model: str, texts: Sequence[str], batch_size: int, done: Callable[[int], None]
) -> Iterator[Sequence[float]]:
    """The vector of each text, in their order. Raises `Failure`, which names the batch.

    done: is told how many there are.
    """
    for start in range(0, len(texts), batch_size):
        batch = texts[start : start + batch_size]
        try:
            data = sorted(asked.embeddings(model=model, input=batch).data, key=lambda item: item.index)
            vectors = [item.embedding for item in data if not isinstance(item.embedding, str)]
            if len(vectors) != len(batch):
                raise Failure(f"the server gave {len(vectors)} vectors for {len(batch)} texts")
        except (MistralException, Failure) as error:
            raise Failure(
                f"batch {start // batch_size + 1} of {-(-len(texts) // batch_size)}, texts {start + 1} to "
                f"{start + len(batch)}: {error}"
            ) from error
        yield from vectors
        done(start + len(batch))


def _lines(texts: Iterable[str], vectors: Iterable[Sequence[float]]) -> Iterator[bytes]:
    for index, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
        line = json.dumps({"index": index, "text": text, "embedding": vector}, ensure_ascii=False)
        yield f"{line}\n".encode()  # JSON is UTF-8, whatever the locale


def _write_npy(file: BinaryIO, vectors: Iterator[Sequence[float]], count: int) -> None:
    """An array of float32, row by row: all together they may be larger than the memory."""
    import numpy as np

    first = next(vectors, [])
    shape = (count, len(first))
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for vector in chain([first], vectors):
        if len(vector) != len(first):
            raise Failure(f"the vectors have different lengths, {len(first)} and {len(vector)}: they are no array")
        file.write(np.asarray(vector, "<f4").tobytes())
