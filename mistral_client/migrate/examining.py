"""A program's use of the official package, and the program with this one in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import libcst as cst

from .clients import Clients
from .elsewhere import Elsewhere, httpx_exceptions
from .finding import Finding, Generation, Kind
from .imports import Imports
from .names import PACKAGE
from .reading import Program


@dataclass(frozen=True)
class Examined:
    """rewritten: the program, to the byte as it was if there is nothing to rewrite, or something is in the way."""

    generations: tuple[Generation, ...] = ()
    findings: tuple[Finding, ...] = ()
    source: bytes = b""
    rewritten: bytes = b""
    encoding: str = "utf-8"

    @property
    def in_the_way(self) -> bool:
        """Whether it would not run after its imports were rewritten."""
        return any(finding.kind.in_the_way for finding in self.findings)


def examine(source: bytes, namesake: str | None = None) -> Examined:
    """Read a program. Nothing of it is run.

    namesake: a file that would be imported in place of this package.

    Raises `CannotRead`.
    """
    if b"mistralai" not in source and b"openai" not in source:
        return Examined(source=source, rewritten=source)
    program = Program(source)
    elsewhere = Elsewhere(program)
    if b"mistralai" not in source:
        return Examined(tuple(elsewhere.generations), tuple(elsewhere.findings), source, source)
    imports, clients = Imports(program), Clients(program)
    findings = {*imports.findings, *elsewhere.findings, *clients.findings}
    if imports.generations or imports.replacements:
        findings.update(httpx_exceptions(program))
        if namesake is not None:
            message = f"{namesake} would be imported in place of {PACKAGE}: give it another name"
            findings.add(Finding(1, Kind.by_hand, message))
    found = Examined(
        tuple(kind for kind in Generation if kind in imports.generations | elsewhere.generations),
        tuple(sorted(findings)),
        source,
        source,
        program.module.encoding,
    )
    if not imports.replacements or found.in_the_way:
        return found
    return replace(found, rewritten=_replaced(program, imports.replacements).encode(program.module.encoding))


def _replaced(program: Program, replacements: Mapping[cst.CSTNode, Sequence[cst.CSTNode]]) -> str:
    """The text with nodes in the place of others; all else to the character, which libcst does not keep at the end."""
    text = program.text
    for node in sorted(replacements, key=program.span, reverse=True):
        start, end = program.span(node)
        text = text[:start] + _joined(program, node, replacements[node]) + text[end:]
    return text


def _joined(program: Program, node: cst.CSTNode, new: Sequence[cst.CSTNode]) -> str:
    """Several statements in the place of one: on lines of their own where it had one."""
    line = program.parent(node)
    own = isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1
    between = program.module.default_newline + program.indentation(node) if own else "; "
    return between.join(map(program.module.code_for_node, new))
