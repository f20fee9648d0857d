"""Every client of other people against `mistral-client serve`, as a table: python -m tests.compat [NAME ...].

Makes the environments below .compat first, where they are not there yet. A name is the beginning of a client's. Ends
with 1 when a client fails in a line of the contract.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .driving import CONTRACT, Outcome, drive, example, standard
from .environments import CLIENTS, interpreter
from .server import serving

FOLDER = Path(__file__).parents[2] / ".compat"
WIDTH = 34


def main() -> int:
    wanted = [each for each in CLIENTS if not sys.argv[1:] or each.name.startswith(tuple(sys.argv[1:]))]
    notes: list[str] = []
    holes = 0
    with serving() as url:
        print(" " * WIDTH, *CONTRACT.values(), sep="  ", flush=True)
        for client in wanted:
            try:
                outcome = drive(client, interpreter(client, FOLDER), url)
            except RuntimeError as error:
                outcome = {line: {"failed": str(error)} for line in CONTRACT}
            marks = [_mark(outcome[line]).center(len(title)) for line, title in CONTRACT.items()]
            print(client.name.ljust(WIDTH), *marks, sep="  ", flush=True)
            notes += _notes(client.name, outcome)
            holes += sum("failed" in end for end in outcome.values())
        print("", *notes, sep="\n")
        for client in wanted:
            if client.standard:
                try:
                    ended = standard(client, interpreter(client, FOLDER), url)
                except RuntimeError as error:
                    print("", f"✗ {client.name}, standard tests: {error}", sep="\n")
                    holes += 1
                    continue
                counts = f"{ended.passed} passed, {len(ended.skipped)} not, {len(ended.failed)} failed"
                print("", f"{client.name}, standard tests of {client.packages[-1]}: {counts}", sep="\n")
                print(*(f"n/a {line}" for line in ended.skipped), *(f"✗ {line}" for line in ended.failed), sep="\n")
                holes += len(ended.failed) + (not ended.passed)
        for client in wanted:
            if client.example:
                wrong = example(client, interpreter(client, FOLDER), url)
                print("", f"examples/{client.example}.py: {wrong or 'as it should'}", sep="\n")
                holes += bool(wrong)
    return 1 if holes or not wanted else 0


def _mark(end: dict[str, str | bool]) -> str:
    return "✓" if end.get("ok") else "n/a" if "not_offered" in end else "✗"


def _notes(name: str, outcome: Outcome) -> list[str]:
    return [
        f"{_mark(end)} {name}, {CONTRACT[line]}: {end.get('failed') or end['not_offered']}"
        for line, end in outcome.items()
        if not end.get("ok")
    ]


if __name__ == "__main__":
    sys.exit(main())
