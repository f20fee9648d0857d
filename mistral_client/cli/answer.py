"""An answer on standard output, as it comes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from .plain import plain

if TYPE_CHECKING:
    from mistral_client._calls import ChatOptions
    from mistral_client.client import MistralClient
    from mistral_client.models.chat_completion import ChatMessage, Content


def pieces(client: MistralClient, messages: list[ChatMessage], model: str, options: ChatOptions) -> Iterator[str]:
    """What the model says, piece by piece."""
    with client.chat_stream(messages=messages, model=model, **options) as chunks:
        for chunk in chunks:
            for choice in chunk.choices[:1]:
                yield text_of(choice.delta.content)


def whole(client: MistralClient, messages: list[ChatMessage], model: str, options: ChatOptions) -> Iterator[str]:
    """The same in one piece, when it is finished."""
    for choice in client.chat(messages=messages, model=model, **options).choices[:1]:
        yield text_of(choice.message.content)


def text_of(content: Content | None) -> str:
    """The text of a message; what a reasoning model thought before it is left out."""
    from mistral_client.models.chat_completion import TextChunk

    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content if isinstance(part, TextChunk))


def has_looks() -> bool:
    """Whether standard output shows bold text and colours, and its reader wants them."""
    return _is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show(answer: Iterator[str], said: list[str] | None = None, *, with_looks: bool = False) -> None:
    """Write each piece at once, and end with exactly one newline, also where the answer breaks off.

    said: is given every piece, so that the caller has them even then.
    with_looks: the answer is Markdown and is shown as such; only where standard output `has_looks`.
    """
    is_terminal = _is_terminal()
    markdown = None
    if with_looks:
        from .markdown import Markdown

        markdown = Markdown(_encodable("•", "-"))
    ends = ""  # newlines that may turn out to be the last
    begun = False
    try:
        for piece in answer:
            if said is not None:
                said.append(piece)
            begun = begun or bool(piece)
            text = (ends + piece).rstrip("\n")
            ends = (ends + piece)[len(text) :]
            if is_terminal:
                text = plain(text)
            if markdown is not None:
                text = markdown.feed(text)
            if text:
                # Elsewhere it is the answer as it came; `color` keeps click from taking out what looks like one.
                click.echo(text, nl=False, color=True)
        begun = True
    finally:
        if begun:
            click.echo("" if markdown is None else markdown.end(), color=True)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _encodable(text: str, otherwise: str) -> str:
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return otherwise
    return text
