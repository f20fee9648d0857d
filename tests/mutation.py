"""Mutation testing of the stages that perform no I/O: python -m tests.mutation

mutmut does it as [tool.mutmut] in pyproject.toml says, in a copy that is deleted at the end. Each mutant that no test finds
is shown: it wants a test, or it is equivalent, a program that does the same. Exit code 1 when under 90 % of a file's
mutants are found.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

ROOT = Path(__file__).parent.parent
FLOOR = 90


def main() -> int:
    os.environ.pop("MISTRAL_SOAK", None)  # the long loops are not for 600 mutants
    files = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]["only_mutate"]
    with tempfile.TemporaryDirectory() as place:
        copy(ROOT / "pyproject.toml", place)
        for folder in ("mistral_client", "tests"):
            copytree(ROOT / folder, Path(place, folder), ignore=ignore_patterns("__pycache__"))

        def mutmut(*words: str) -> str:
            command = [sys.executable, "-m", "mutmut", *words]
            done = subprocess.run(
                command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
            )
            if done.returncode:
                sys.exit(done.stdout)
            return done.stdout

        mutmut("run")
        outcomes = dict(line.strip().split(": ") for line in mutmut("results", "--all", "true").splitlines())
        low = False
        for file in files:
            module = file.removesuffix(".py").replace("/", ".")
            of_file = {name: outcome for name, outcome in outcomes.items() if name.startswith(f"{module}.x")}
            counts = Counter(of_file.values())
            # A mutant that never comes to an end is found out as well.
            killed = counts["killed"] + counts["timeout"]
            for name, outcome in of_file.items():
                if outcome not in {"killed", "timeout"}:
                    print(mutmut("show", name))
            # A file without mutants was not found, or its tests were not.
            score = 100 * killed / len(of_file) if of_file else 0.0
            low |= score < FLOOR
            print(f"{file}: {score:.1f} %, {killed} of {len(of_file)} mutants killed", dict(counts), flush=True)
    return low


if __name__ == "__main__":
    sys.exit(main())
