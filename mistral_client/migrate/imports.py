"""The imports of a program, and what is taken from imported modules, as they are under this package."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import libcst as cst

from mistral_client._install import homes

from .finding import Finding, Generation, Kind
from .names import PACKAGE, generation, is_module, is_official, needs, places, split
from .reading import Program, dotted, dotted_node

_OF_SEVERAL = {"mistralai", "mistralai.client"}
"""Modules of more than one generation; what is taken from them tells which."""


@dataclass
class _Module:
    """A variable that a module is bound to, and what the program takes from it."""

    official: str
    taken: list[tuple[cst.Attribute, str, str]] = field(default_factory=list)
    """An expression, and the module and the name that it means."""

    def here(self) -> str | None:
        """The module of ours that has all of it; None where there is no single one."""
        name = self.official.rpartition(".")[2]
        ours = sorted(
            homes()[self.official], key=lambda home: (home == PACKAGE, not home.endswith(f".{name}"), home.count("."))
        )
        common = [
            home for home in (*ours, PACKAGE) if all(home in places(module, name) for _, module, name in self.taken)
        ]
        return common[0] if common else None


class Imports:
    """What is found of a program's imports: generations, findings, and nodes to put in the place of others."""

    def __init__(self, program: Program) -> None:
        self.generations: set[Generation] = set()
        self.findings: list[Finding] = []
        self.replacements: dict[cst.CSTNode, list[cst.CSTNode]] = {}
        self._program = program
        self._modules: dict[tuple[str, str], _Module] = {}
        """By variable and by the module's official name. What `import mistralai` binds is not among them: whatever is
        taken from it may have a home of its own."""
        self._needed: dict[str, None] = {PACKAGE: None}
        """What `import mistralai` becomes."""

        statements = [node for node in program.nodes if isinstance(node, cst.Import | cst.ImportFrom)]
        for statement in statements:
            self._note(statement)
        for node in program.nodes:
            if isinstance(node, cst.Name):
                self._use(node)
        for (variable, _), module in self._modules.items():
            self._rename(variable, module)
        for statement in statements:
            if isinstance(statement, cst.Import):
                self._plain(statement)
            elif self._is_official(statement):
                self._from(statement)

    def _found(self, node: cst.CSTNode, kind: Kind, message: str) -> None:
        self.findings.append(Finding(self._program.line(node), kind, message))

    def _outside(self, node: cst.CSTNode, name: str) -> None:
        self._found(node, Kind.outside, f"{name} is not here; {needs(name)}")

    @staticmethod
    def _is_official(node: cst.ImportFrom) -> bool:
        return not node.relative and is_official(dotted(node.module))

    # --- what is bound to what ---

    def _note(self, statement: cst.Import | cst.ImportFrom) -> None:
        if isinstance(statement, cst.Import):
            bound = [(dotted(alias.name), alias) for alias in statement.names]
        elif self._is_official(statement) and not isinstance(statement.names, cst.ImportStar):
            bound = [(f"{dotted(statement.module)}.{dotted(alias.name)}", alias) for alias in statement.names]
        else:
            bound = []
        for name, alias in bound:
            if not is_official(name):
                continue
            if name not in _OF_SEVERAL:
                self.generations.add(generation(name))
            variable = alias.evaluated_alias or (None if isinstance(statement, cst.Import) else alias.evaluated_name)
            if variable is not None and is_module(name):
                self._modules.setdefault((variable, name), _Module(name))

    def _use(self, node: cst.Name) -> None:
        """A variable that is a module, and the attributes that are taken from it."""
        program = self._program
        for bound in sorted(program.official(node)):
            if not is_module(bound):
                continue  # a name, or what was found to be outside where it is imported
            chain = program.chain(node)
            module, rest = split(".".join([bound, *(attribute.attr.value for attribute in chain)]))
            if not rest:
                self._found(node, Kind.by_hand, f"the module {bound} is used as a value")
                continue
            whole = f"{module}.{rest[0]}"
            self.generations.add(generation(whole))
            if not places(module, rest[0]):
                self._outside(node, whole)
                continue
            taken = chain[-len(rest)]
            if (node.value, bound) in self._modules:
                self._modules[node.value, bound].taken.append((taken, module, rest[0]))
            else:
                home = places(module, rest[0])[0]
                self._needed[home] = None
                self.replacements[taken] = [dotted_node(f"{home}.{rest[0]}")]

    def _rename(self, variable: str, module: _Module) -> None:
        if module.here() is None:
            self._found(
                module.taken[0][0],
                Kind.by_hand,
                f"what is taken from {variable} is in several modules here: import the names themselves",
            )
        for node, _, name in module.taken:
            if not isinstance(node.value, cst.Name):  # what is taken from the variable itself is so still
                self.replacements[node] = [dotted_node(f"{variable}.{name}")]

    # --- statements ---

    def _plain(self, statement: cst.Import) -> None:
        """`import a, b as c`"""
        if not any(is_official(dotted(alias.name)) for alias in statement.names):
            return
        aliases: dict[str, cst.ImportAlias] = {}
        for alias in statement.names:
            name, variable = dotted(alias.name), alias.evaluated_alias
            if not is_official(name):
                new = [alias]
            elif not is_module(name):
                self._outside(statement, name)
                return
            elif variable is None:
                self._variable_of_our_name(statement)
                new = [cst.ImportAlias(dotted_node(module)) for module in self._needed]
            else:
                new = [alias.with_changes(name=dotted_node(self._modules[variable, name].here() or PACKAGE))]
            for each in new:
                aliases.setdefault(f"{dotted(each.name)} as {each.evaluated_alias}", each)
        names = _separated([*aliases.values()], statement.names[-1])
        self.replacements[statement] = [statement.with_changes(names=names, semicolon=cst.MaybeSentinel.DEFAULT)]

    def _variable_of_our_name(self, statement: cst.Import) -> None:
        for node in self._program.nodes:
            if self._is_of_our_name(node):
                line = self._program.line(node)
                message = f"{PACKAGE} is a variable of the program (line {line}): give it another name"
                self._found(statement, Kind.by_hand, message)
                return

    def _is_of_our_name(self, node: cst.CSTNode) -> bool:
        """Whether a node binds or uses a variable that is called like this package, and is not it."""
        if isinstance(node, cst.ImportAlias):
            binds_name = isinstance(self._program.parent(node), cst.ImportFrom)
            return (node.evaluated_alias or (binds_name and node.evaluated_name)) == PACKAGE
        return isinstance(node, cst.Name) and node.value == PACKAGE and bool(self._program.variables(node))

    def _from(self, statement: cst.ImportFrom) -> None:
        """`from a import b, c as d`"""
        module = dotted(statement.module)
        if isinstance(statement.names, cst.ImportStar):
            if module not in _OF_SEVERAL:
                self.generations.add(generation(module))
            self._found(statement, Kind.by_hand, f"from {module} import *: import the names themselves")
            return
        by_home: dict[str, list[cst.ImportAlias]] = defaultdict(list)
        modules: list[cst.Import] = []
        for alias in statement.names:
            name = dotted(alias.name)
            variable = alias.evaluated_alias or name
            if is_module(f"{module}.{name}"):
                here = self._modules[variable, f"{module}.{name}"].here() or PACKAGE
                above, _, last = here.rpartition(".")
                if last == name:
                    by_home[above].append(alias)
                else:
                    modules.append(_bound(here, variable))
            elif found := places(module, name):
                by_home[found[0]].append(alias)
            else:
                self._outside(statement, f"{module}.{name}")
        alone = statement.with_changes(semicolon=cst.MaybeSentinel.DEFAULT)
        several = [
            alone.with_changes(module=dotted_node(home), names=_separated(aliases, statement.names[-1]))
            for home, aliases in by_home.items()
        ]
        if several or modules:
            self.replacements[statement] = [*several, *modules]


def _separated(aliases: list[cst.ImportAlias], last: cst.ImportAlias) -> list[cst.ImportAlias]:
    """With a comma after each, and after the last what was there after the last."""
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    return [
        *(each if isinstance(each.comma, cst.Comma) else each.with_changes(comma=comma) for each in aliases[:-1]),
        aliases[-1].with_changes(comma=last.comma),
    ]


def _bound(module: str, variable: str) -> cst.Import:
    return cst.Import([cst.ImportAlias(dotted_node(module), asname=cst.AsName(cst.Name(variable)))])
