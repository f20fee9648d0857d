"""A conversation as questions and answers that alternate, the way Mistral's first formats want it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from .turns import Turn

BETWEEN_MESSAGES = "\n\n"


def system_text(turns: Sequence[Turn]) -> str:
    """All that is said as system, in one."""
    return _joined([turn for turn in turns if turn.role == "system"])


def exchange(turns: Sequence[Turn]) -> list[Turn]:
    """The other turns as `InstructRequestNormalizer` of https://github.com/mistralai/mistral-common arranges them.

    Neighbours of one role are one turn, save results of tools, and a conversation that does not begin with the user
    gets an empty question first. System turns part their neighbours: two questions around one stay two.
    """
    messages = list(_merged(turns))
    if not messages or messages[0].role != "user":
        messages.insert(0, Turn("user", ""))
    return messages


def _merged(turns: Sequence[Turn]) -> Iterator[Turn]:
    for role, neighbours in groupby(turns, key=attrgetter("role")):
        group = list(neighbours)
        if role == "tool":
            yield from group
        elif role != "system":
            calls = tuple(call for turn in group for call in turn.calls)
            yield Turn(role, _joined(group), prefix=any(turn.prefix for turn in group), calls=calls)


def _joined(turns: Sequence[Turn]) -> str:
    return BETWEEN_MESSAGES.join(turn.text for turn in turns if turn.text)
