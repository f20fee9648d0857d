"""A conversation at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from mistral_client.exceptions import MistralException

from .answer import show
from .conversation import Conversation
from .failure import Failure
from .plain import one_line
from .typed import Typed

if TYPE_CHECKING:
    from mistral_client.models.chat_completion import ChatMessage

COMMANDS = {
    "/system [TEXT]": "put a system message at the beginning, or take it away",
    "/model [NAME]": "ask another model, or list them",
    "/save FILE": "write the conversation to a file",
    "/load FILE": "go on with the conversation in a file",
    "/clear, /new": "forget what was said",
    "/help": "tell the commands",
    "/quit, /exit": "end, as Ctrl-D does",
}


def converse(
    conversation: Conversation,
    answer: Callable[[list[ChatMessage], str], Iterator[str]],
    names: Callable[[], list[str]],
    typed: Typed,
    *,
    with_looks: bool,
) -> None:
    """What is typed is answered, or done where it is a command, until Ctrl-D or /quit.

    answer: what a model says after messages, piece by piece.
    names: of the models that there are.

    Ctrl-C stops an answer, and what was said of it stays said. An error is shown, and its turn forgotten.
    Raises `KeyboardInterrupt` for Ctrl-C at the prompt.
    """
    click.echo("/help tells the commands, Ctrl-C stops an answer, Ctrl-D ends.", err=True)
    while (text := typed.next()) is not None:
        try:
            if text.startswith("/"):
                if text.strip() in {"/quit", "/exit"}:
                    return
                _do(text, conversation, names)
            elif text.strip():
                _ask(text.strip(), conversation, answer, with_looks=with_looks)
        except (MistralException, Failure) as error:
            Failure(str(error)).show()
        except KeyboardInterrupt:  # while a command asks the server
            click.echo(err=True)


def _ask(
    question: str,
    conversation: Conversation,
    answer: Callable[[list[ChatMessage], str], Iterator[str]],
    *,
    with_looks: bool,
) -> None:
    from mistral_client.models.chat_completion import ChatMessage

    asked = [*conversation.messages, ChatMessage(role="user", content=question)]
    said: list[str] = []
    try:
        show(answer(asked, conversation.model), said, with_looks=with_looks)
    except KeyboardInterrupt:
        click.echo(err=True)
    if "".join(said):
        conversation.messages = [*asked, ChatMessage(role="assistant", content="".join(said))]


def _do(command: str, conversation: Conversation, names: Callable[[], list[str]]) -> None:
    """Raises `Failure` for what is no command."""
    name, argument = [*command.split(maxsplit=1), ""][:2]
    argument = argument.rstrip()
    match name:
        case "/help" if not argument:
            _tell_commands()
        case "/clear" | "/new" if not argument:
            conversation.clear()
        case "/system":
            conversation.instruct(argument)
        case "/model" if argument:
            if argument not in names():
                raise Failure(f"there is no model {argument}; /model lists those that there are")
            conversation.model = argument
        case "/model":
            for each in names():
                click.echo(f"{'*' if each == conversation.model else ' '} {one_line(each)}", err=True)
        case "/save" if argument:
            conversation.save(argument)
            _tell(f"saved in {argument}")
        case "/load" if argument:
            loaded = Conversation.load(argument)
            conversation.model, conversation.messages = loaded.model, loaded.messages
            _tell(f"{len(loaded.messages)} messages, with {loaded.model}")
        case _:
            usage = next((usage for usage in COMMANDS if name in usage.replace(",", "").split()), None)
            raise Failure(
                f"it is used as {usage}"
                if usage is not None
                else f"there is no command {name}; /help tells those that there are, and a line that begins with a "
                "space is a question"
            )


def _tell_commands() -> None:
    width = max(map(len, COMMANDS))
    for usage, meaning in COMMANDS.items():
        click.echo(f"{usage.ljust(width)}  {meaning}", err=True)
    click.echo('Lines between """ and """ are one question. A line that begins with a space is no command.', err=True)


def _tell(text: str) -> None:
    click.echo(one_line(text), err=True)
