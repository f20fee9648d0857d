"""What is found in a program, and where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Generation(StrEnum):
    """Of the clients that programs are written for."""

    early = "mistralai 0.x"
    first = "mistralai 1.x"
    later = "mistralai 2.x or 3.x"
    openai = "openai"

    @property
    def requirement(self) -> str:
        """What pip installs of it."""
        return {"early": "'mistralai<1'", "first": "'mistralai<2'", "later": "mistralai", "openai": "openai"}[self.name]


class Kind(StrEnum):
    """What is to be done about a finding."""

    hint = "hint"
    """Nothing."""
    different = "different"
    """Nothing must be: it runs, with an effect of its own here."""
    by_hand = "by hand"
    """It would not run; a person can change it."""
    outside = "outside"
    """This package has nothing of the kind."""

    @property
    def in_the_way(self) -> bool:
        """Whether the program would not run after its imports were rewritten."""
        return self in {Kind.by_hand, Kind.outside}


@dataclass(frozen=True, order=True)
class Finding:
    """line: from 1 on."""

    line: int
    kind: Kind
    message: str
