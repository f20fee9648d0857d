"""What a program says of the official package, and of others, beside its imports and its clients."""

from __future__ import annotations

import libcst as cst

from .finding import Finding, Generation, Kind
from .names import is_official, places, split
from .reading import Program, dotted

_TAKE_MODULES = ("__import__", "find_spec", "import_module", "importorskip", "version")


class Elsewhere:
    """What is found there."""

    def __init__(self, program: Program) -> None:
        self.generations: set[Generation] = set()
        self.findings: list[Finding] = []
        self._program = program
        for node in program.nodes:
            match node:
                case cst.SimpleString():
                    self._string(node)
                case cst.Import():
                    self._openai(node, [dotted(alias.name) for alias in node.names])
                case cst.ImportFrom(relative=[] | ()):
                    self._openai(node, [dotted(node.module)])

    def _string(self, node: cst.SimpleString) -> None:
        """A name in a string, as `patch` and `import_module` take it."""
        text = node.evaluated_value
        if not isinstance(text, str) or not is_official(text):
            return
        argument = self._program.parent(node)
        call = self._program.parent(argument)
        function = ""
        if isinstance(argument, cst.Arg) and isinstance(call, cst.Call):
            function = dotted(call.func).rpartition(".")[2]
        module, rest = split(text)
        known = "." in text and (module != "mistralai" or bool(places(module, rest[0])))
        if function in _TAKE_MODULES or (known and function != "getLogger"):
            self.findings.append(Finding(self._program.line(node), Kind.by_hand, f"{text} is named in a string"))

    def _openai(self, node: cst.CSTNode, modules: list[str]) -> None:
        if Generation.openai in self.generations or "openai" not in {name.partition(".")[0] for name in modules}:
            return
        self.generations.add(Generation.openai)
        message = (
            "its client stays as it is; `mistral-client serve` answers it too, at base_url='http://127.0.0.1:8000/v1'"
        )
        self.findings.append(Finding(self._program.line(node), Kind.hint, message))


def httpx_exceptions(program: Program) -> list[Finding]:
    """Where a program that calls clients of the official package catches what the library below it raises."""
    return [
        Finding(
            program.line(node), Kind.different, "no exception of httpx leaves a client here: catch MistralException"
        )
        for node in program.nodes
        if isinstance(node, cst.ExceptHandler | cst.ExceptStarHandler)
        and node.type is not None
        and _of_httpx(program, node.type)
    ]


def _of_httpx(program: Program, types: cst.BaseExpression) -> bool:
    kinds = [each.value for each in types.elements] if isinstance(types, cst.Tuple) else [types]
    return any(name.partition(".")[0] in {"httpx", "httpx2"} for kind in kinds for name in program.imported(kind))
