"""`mistral-client chat`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import piped
from .answer import has_looks, pieces, show, whole
from .completion import files, model_names
from .endpoint import client, endpoint_option, local_model

if TYPE_CHECKING:
    from mistral_client._calls import ChatOptions

MODEL = "mistral-small"


@click.command(
    epilog="""Ctrl-C ends with exit code 130; in a conversation it stops the answer that comes, and only that.

    \b
    Examples:
      mistral-client chat "What is the best French cheese?"
      mistral-client chat --system "Answer in one word." "Is water wet?"
      mistral-client chat < question.txt
      mistral-client chat
      mistral-client chat --load cheese.json
    """
)
@click.argument("prompt", required=False)
@click.option(
    "-m",
    "--model",
    metavar="NAME",
    shell_complete=model_names,
    help=f"Name to ask for; else {MODEL}, or that of --load.",
)
@endpoint_option
@click.option("--system", metavar="TEXT", help="System message at the beginning.")
@click.option("--temperature", type=click.FloatRange(0, 1.5), help="0 always takes the likeliest token.")
@click.option("--top-p", type=click.FloatRange(0, 1), help="Draw from this share of the probability.")
@click.option("--max-tokens", type=click.IntRange(min=0), help="Longest answer.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same answer.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Text that ends the answer; may be given several times.")
@click.option("--no-stream", is_flag=True, help="Show the answer when it is finished, not as it comes.")
@click.option(
    "--plain", is_flag=True, help="Show Markdown as it was written. NO_COLOR in the environment does the same."
)
@click.option("--load", metavar="FILE", shell_complete=files, help="Go on with a conversation that /save wrote.")
@click.option("--no-history", is_flag=True, help="In a conversation, neither recall nor remember what is typed.")
def chat(
    prompt: str | None,
    model: str | None,
    endpoint: str,
    system: str | None,
    temperature: float | None,
    top_p: float | None,
    max_tokens: int | None,
    seed: int | None,
    stop: tuple[str, ...],
    no_stream: bool,
    plain: bool,
    load: str | None,
    no_history: bool,
) -> None:
    """Answer PROMPT, or hold a conversation.

    Without PROMPT it is read from standard input; where that is a terminal, a conversation begins, in which /help tells
    what can be done. PROMPT - is standard input in any case. Standard output gets the answer and nothing else; at a
    terminal its Markdown is shown as headings, bold text and so on.
    """
    if prompt == "-" or (prompt is None and not piped.is_terminal()):
        prompt = piped.text()
    if prompt is not None and not prompt.strip():
        raise click.UsageError("The prompt is empty.")

    from mistral_client.models.chat_completion import ChatMessage

    from .conversation import Conversation

    options: ChatOptions = {
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "random_seed": seed,
        "stop": list(stop) or None,
    }
    ask = whole if no_stream else pieces
    conversation = Conversation(MODEL, []) if load is None else Conversation.load(load)
    if model is not None:
        conversation.model = model
    if system is not None:
        conversation.instruct(system)
    with_looks = not plain and has_looks()
    with client(endpoint) as asked:
        if prompt is not None:
            messages = [*conversation.messages, ChatMessage(role="user", content=prompt)]
            show(ask(asked, messages, conversation.model, options), with_looks=with_looks)
            return

        from .converse import converse
        from .history import History
        from .known_names import offered
        from .typed import Typed

        def names() -> list[str]:
            return [card.id for card in offered(asked, endpoint).data]

        if local_model(endpoint) is not None:
            names()  # has the model loaded, or what is wrong with it told, before the first question
        converse(
            conversation,
            lambda messages, model: ask(asked, messages, model, options),
            names,
            Typed(None if no_history else History.of_user()),
            with_looks=with_looks,
        )
