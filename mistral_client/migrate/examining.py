"""A program's use of the official package, and the program with this one in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import libcst as cst

from .clients import Clients
from .elsewhere import Elsewhere, httpx_exceptions
from .finding import Finding, Generation
from .imports import Imports, Replacement
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


def examine(source: bytes) -> Examined:
    """Read a program. Nothing of it is run.

    Raises `CannotRead`.
    """
    if b"mistralai" not in source and b"openai" not in source:
        return Examined(source=source, rewritten=source)
    program = Program(source)
    imports, elsewhere, clients = Imports(program), Elsewhere(program), Clients(program)
    findings = {*imports.findings, *elsewhere.findings, *clients.findings}
    if imports.generations:
        findings |= {*httpx_exceptions(program)}
    found = Examined(
        tuple(kind for kind in Generation if kind in imports.generations | elsewhere.generations),
        tuple(sorted(findings)),
        source,
        source,
        program.module.encoding,
    )
    if not imports.replacements or found.in_the_way:
        return found
    return replace(found, rewritten=program.module.visit(_Replacing(imports.replacements)).bytes)


class _Replacing(cst.CSTTransformer):
    def __init__(self, replacements: Mapping[cst.CSTNode, Replacement]) -> None:
        super().__init__()
        self._replacements = replacements

    def on_leave(self, original_node: cst.CSTNodeT, updated_node: cst.CSTNodeT) -> Any:
        return self._replacements.get(original_node, updated_node)
