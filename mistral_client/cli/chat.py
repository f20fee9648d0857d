"""`mistral-client chat`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import piped
from .answer import pieces, show, whole
from .conversation import converse
from .endpoint import client, endpoint_option, local_model

if TYPE_CHECKING:
    from mistral_client._calls import ChatOptions


@click.command(
    epilog="""Ctrl-C ends with exit code 130; in a conversation it stops the answer that comes, and only that.

    \b
    Examples:
      mistral-client chat "What is the best French cheese?"
      mistral-client chat --system "Answer in one word." "Is water wet?"
      mistral-client chat < question.txt
      mistral-client chat
    """
)
@click.argument("prompt", required=False)
@click.option("-m", "--model", default="mistral-small", show_default=True, metavar="NAME", help="Name to ask for.")
@endpoint_option
@click.option("--system", metavar="TEXT", help="System message at the beginning.")
@click.option("--temperature", type=click.FloatRange(0, 1.5), help="0 always takes the likeliest token.")
@click.option("--top-p", type=click.FloatRange(0, 1), help="Draw from this share of the probability.")
@click.option("--max-tokens", type=click.IntRange(min=0), help="Longest answer.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same answer.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Text that ends the answer; may be given several times.")
@click.option("--no-stream", is_flag=True, help="Show the answer when it is finished, not as it comes.")
def chat(
    prompt: str | None,
    model: str,
    endpoint: str,
    system: str | None,
    temperature: float | None,
    top_p: float | None,
    max_tokens: int | None,
    seed: int | None,
    stop: tuple[str, ...],
    no_stream: bool,
) -> None:
    """Answer PROMPT, or hold a conversation.

    Without PROMPT it is read from standard input; where that is a terminal, a conversation begins, which Ctrl-D or
    /exit ends. PROMPT - is standard input in any case. Standard output gets the answer and nothing else.
    """
    if prompt == "-" or (prompt is None and not piped.is_terminal()):
        prompt = piped.text()
    if prompt is not None and not prompt.strip():
        raise click.UsageError("The prompt is empty.")

    from mistral_client.models.chat_completion import ChatMessage

    options: ChatOptions = {
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "random_seed": seed,
        "stop": list(stop) or None,
    }
    ask = whole if no_stream else pieces
    messages = [] if system is None else [ChatMessage(role="system", content=system)]
    with client(endpoint) as asked:
        if prompt is None:
            if local_model(endpoint) is not None:
                asked.list_models()  # has the model loaded, or what is wrong with it told, before the first question
            converse(lambda messages: ask(asked, messages, model, options), messages)
        else:
            show(ask(asked, [*messages, ChatMessage(role="user", content=prompt)], model, options))
