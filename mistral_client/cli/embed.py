"""`mistral-client embed`"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice

import click

from . import piped
from .endpoint import client, endpoint_option
from .failure import Failure

BATCH = 32
"""Texts in a request, which may hold 16,384 tokens: enough for texts of up to 512."""


@click.command(
    epilog="""
    \b
    Examples:
      mistral-client embed "a red apple" "a green pear"
      mistral-client embed < lines.txt > vectors.jsonl
    """
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("-m", "--model", default="mistral-embed", show_default=True, metavar="NAME", help="Name to ask for.")
@endpoint_option
def embed(texts: tuple[str, ...], model: str, endpoint: str) -> None:
    """Turn each TEXT, or each line of standard input, into a vector.

    Each gives one line of JSON, in the same order: {"index": 0, "text": "...", "embedding": [...]}. Empty lines are
    left out and not counted.
    """
    if not texts and piped.is_terminal():
        raise click.UsageError("There is no text: give it as an argument, or line by line on standard input.")
    if not all(map(str.strip, texts)):
        raise click.UsageError("A text is empty.")
    given = iter(texts or (line for line in piped.lines() if line.strip()))
    index = 0
    with client(endpoint) as asked:
        for batch in _batches(given):
            response = asked.embeddings(model=model, input=batch)
            if len(response.data) != len(batch):
                raise Failure(f"the server gave {len(response.data)} vectors for {len(batch)} texts")
            for text, item in zip(batch, response.data, strict=True):
                line = json.dumps({"index": index, "text": text, "embedding": item.embedding}, ensure_ascii=False)
                click.echo(line.encode())  # JSON is UTF-8, whatever the locale
                index += 1


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    while batch := list(islice(texts, BATCH)):
        yield batch
