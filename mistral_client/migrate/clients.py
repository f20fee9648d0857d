"""What a program does with its clients, and whether those of this package can do it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import cache
from typing import Any

import libcst as cst

from mistral_client._install import names_of

from .finding import Finding, Kind
from .names import needs, split
from .reading import Program, below, dotted

CLIENTS = ("Mistral", "MistralAsyncClient", "MistralClient")

_MAX_RETRIES = "max_retries does not count the first request here, as it did in the early client"
_DIFFERENT = {
    ("MistralClient", "max_retries"): _MAX_RETRIES,
    ("MistralAsyncClient", "max_retries"): _MAX_RETRIES,
}
"""By a function, or a class for its constructor, and an argument."""


class Clients:
    """What is found of a program's clients."""

    def __init__(self, program: Program) -> None:
        self.findings: list[Finding] = []
        self._program = program
        self._variables: dict[str, str] = {}
        """The variables that hold a client, and the functions that return one: its official name."""
        self._follow()
        for name in self._of_several_kinds():
            self._variables.pop(name, None)
        for node in program.nodes:
            if isinstance(node, cst.Call) and (kind := self._class(node.func)):
                self._check_call(node, kind, _class_here(kind), "")
            if isinstance(node, cst.Attribute) and (kind := self._client(node.value)):
                self._check(node, kind)

    # --- which expressions are clients ---

    def _class(self, node: cst.CSTNode) -> str:
        """The official name of the client class that an expression is; "" for anything else."""
        for name in sorted(self._program.official(node)):
            _, rest = split(name)
            if len(rest) == 1 and rest[0] in CLIENTS and _class_here(name) is not None:
                return name
        return ""

    def _client(self, node: cst.BaseExpression | None) -> str:
        """Of which class an expression is a client; "" for anything else."""
        match node:
            case cst.Call():
                return self._class(node.func) or self._known(node.func)
            case cst.Await():
                return self._client(node.expression)
            case cst.NamedExpr():
                return self._client(node.value)
            case cst.BooleanOperation():
                return self._client(node.left) or self._client(node.right)
            case cst.IfExp():
                return self._client(node.body) or self._client(node.orelse)
            case cst.Name() | cst.Attribute():
                return self._known(node)
        return ""

    def _known(self, node: cst.BaseExpression) -> str:
        return next((self._variables[name] for name in self._program.variables(node) if name in self._variables), "")

    def _annotated(self, annotation: cst.Annotation | None) -> str:
        """Which client an annotation speaks of, also among others: `Mistral | None`, `Optional[Mistral]`."""
        if annotation is None:
            return ""
        inside = below(annotation)
        return next(
            (kind for node in inside if isinstance(node, cst.Name | cst.Attribute) if (kind := self._class(node))), ""
        )

    def _follow(self) -> None:
        """Note the variables, until there are no more of them."""
        known = -1
        while known < len(self._variables):
            known = len(self._variables)
            for node in self._program.nodes:
                for target, kind in self._bindings(node):
                    for name in self._program.variables(target) if kind else ():
                        self._variables.setdefault(name, kind)

    def _of_several_kinds(self) -> set[str]:
        """Variables that also hold what is no client; nobody knows which of the two is used where."""
        return {
            name
            for node in self._program.nodes
            if isinstance(node, cst.Assign) and not self._client(node.value) and dotted(node.value) != "None"
            for each in node.targets
            for name in self._program.variables(each.target)
        }

    def _bindings(self, node: cst.CSTNode) -> Iterable[tuple[cst.CSTNode, str]]:
        match node:
            case cst.Assign():
                return [(each.target, self._client(node.value)) for each in node.targets]
            case cst.AnnAssign():
                return [(node.target, self._annotated(node.annotation) or self._client(node.value))]
            case cst.NamedExpr():
                return [(node.target, self._client(node.value))]
            case cst.WithItem(asname=cst.AsName(name=variable)):
                return [(variable, self._client(node.item))]
            case cst.Param():
                return [(node.name, self._annotated(node.annotation) or self._client(node.default))]
            case cst.FunctionDef():
                return [(node.name, self._annotated(node.returns))]
        return []

    # --- what is done with them ---

    def _found(self, node: cst.CSTNode, kind: Kind, message: str) -> None:
        self.findings.append(Finding(self._program.line(node), kind, message))

    def _check(self, first: cst.Attribute, kind: str) -> None:
        """An attribute of a client, and what is taken of it further."""
        chain = [first, *self._program.chain(first)]
        value: Any = _client_here(kind)
        path = []
        for node in chain:
            name = node.attr.value
            path.append(name)
            if name.startswith("_"):
                self._found(node, Kind.by_hand, f"{'.'.join(path)} is the client's own; there is none here")
                return
            try:
                value = getattr(value, name)
            except Exception:  # noqa: BLE001, whatever way it says no
                message = f"{_last(kind)} has no {'.'.join(path)} here; {needs(kind)}"
                self._found(node, Kind.outside, message)
                return
            call = self._program.parent(node)
            if isinstance(call, cst.Call) and call.func is node and callable(value):
                self._check_call(call, kind, value, ".".join(path))
                return

    def _check_call(self, call: cst.Call, kind: str, function: Any, path: str) -> None:
        """Whether a function takes the arguments that a call gives."""
        parameters = inspect.signature(function).parameters.values()
        by_place = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        given = [each for each in call.args if not each.star and each.keyword is None]
        named = path or _last(kind)
        if len(given) > len(by_place):
            self._found(
                call, Kind.by_hand, f"{named} takes {len(by_place)} arguments by position; the others must be named"
            )
        if any(each.kind is each.VAR_KEYWORD for each in parameters):
            return
        for argument in call.args:
            name = dotted(argument.keyword)
            if name and name not in {each.name for each in parameters}:
                self._found(argument, Kind.by_hand, f"{named} has no argument {name} here")
            elif (named, name) in _DIFFERENT:
                self._found(argument, Kind.different, _DIFFERENT[named, name])


def _last(name: str) -> str:
    return name.rpartition(".")[2]


@cache
def _class_here(kind: str) -> Any:
    module, (name, *_) = split(kind)
    return names_of(module).get(name)


@cache
def _client_here(kind: str) -> Any:
    """One that has no connections yet, to see what it has."""
    address = "server_url" if kind.endswith(".Mistral") else "endpoint"
    return _class_here(kind)(api_key="none", **{address: "http://127.0.0.1"})
