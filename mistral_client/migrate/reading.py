"""A program as libcst reads it: its nodes, and what their names stand for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import libcst as cst
from libcst.helpers import get_full_name_for_node
from libcst.metadata import (
    BaseMetadataProvider,
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    QualifiedNameSource,
    ScopeProvider,
)

from .names import is_official


class CannotRead(Exception):
    """A program that does not parse. line: where, from 1 on; None where nobody knows."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class Program:
    """Raises `CannotRead`."""

    def __init__(self, source: bytes) -> None:
        self.module = _parsed(source)
        self.text = source.decode(self.module.encoding)
        self._metadata = MetadataWrapper(self.module, unsafe_skip_copy=True)  # a tree just parsed has no node twice
        told = self._told(ParentNodeProvider, PositionProvider)
        self._parents, self._positions = told[ParentNodeProvider], told[PositionProvider]
        self.nodes = list(self._parents)

    def _told(self, *providers: type[BaseMetadataProvider[Any]]) -> Mapping[Any, Mapping[cst.CSTNode, Any]]:
        try:
            return self._metadata.resolve_many(providers)
        except RecursionError:
            raise CannotRead(_TOO_DEEP) from None

    @cached_property
    def _scopes(self) -> Mapping[cst.CSTNode, Any]:
        return self._told(ScopeProvider)[ScopeProvider]  # which takes the most time

    def line(self, node: cst.CSTNode) -> int:
        """Where a node begins."""
        line: int = self._positions[node].start.line
        return line

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """Where in the text a node begins and ends."""
        found = self._positions[node]
        start, end = (self._lines[place.line - 1] + place.column for place in (found.start, found.end))
        return start, end

    def indentation(self, node: cst.CSTNode) -> str:
        """What stands before the first node on a line."""
        start, _ = self.span(node)
        return self.text[self._lines[self.line(node) - 1] : start]

    @cached_property
    def _lines(self) -> list[int]:
        return [0, *(newline.end() for newline in re.finditer(r"\r\n?|\n", self.text))]

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """What a node stands in."""
        above: cst.CSTNode = self._parents[node]
        return above

    def imported(self, node: cst.CSTNode) -> set[str]:
        """The dotted names that a name, or one with attributes, may stand for by the program's imports."""
        return {name.name for name in self._qualified(node) if name.source is QualifiedNameSource.IMPORT}

    def official(self, node: cst.CSTNode) -> set[str]:
        """Those of them that belong to the official package."""
        return {name for name in self.imported(node) if is_official(name)}

    def variables(self, node: cst.CSTNode) -> set[str]:
        """The program's own variables that a name, or one with attributes, may stand for; equal texts for equal ones.

        `self` is the same in all methods of a class, and an attribute of the class is one of `self`.
        """
        return {
            re.sub(r"\.\w+\.<locals>\.(self|cls)\b", "", name.name)
            for name in self._qualified(node)
            if name.source is QualifiedNameSource.LOCAL
        }

    def _qualified(self, node: cst.CSTNode) -> set[cst.metadata.QualifiedName]:
        scope = self._scopes.get(node)
        return set() if scope is None else set(scope.get_qualified_names_for(node))

    def chain(self, node: cst.BaseExpression) -> list[cst.Attribute]:
        """The attribute that is taken of an expression, the attribute of that, and so on: `a.b`, `a.b.c`, ..."""
        found: list[cst.Attribute] = []
        while isinstance(above := self.parent(node), cst.Attribute) and above.value is node:
            found.append(above)
            node = above
        return found


def _parsed(source: bytes) -> cst.Module:
    try:
        _check_depth(ast.parse(source))  # by Python, which says it in better words, and never crashes
        return cst.parse_module(source)
    except SyntaxError as error:
        raise CannotRead(error.msg, error.lineno or None) from None
    except cst.ParserSyntaxError as error:
        raise CannotRead("libcst cannot parse it", error.raw_line) from None
    except (ValueError, LookupError) as error:  # a null byte, bytes of another encoding
        raise CannotRead(str(error)) from None
    except (RecursionError, MemoryError):
        raise CannotRead(_TOO_DEEP) from None


_TOO_DEEP = "it is nested too deeply"
_DEEPEST = 150  # libcst takes a few of Python's frames for each, and crashes when there are thousands


def _check_depth(tree: ast.AST) -> None:
    level, depth = [tree], 0
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1
        if depth > _DEEPEST:
            raise CannotRead(_TOO_DEEP)


def below(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A node and all nodes in it, in their order."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def dotted(node: cst.CSTNode | None) -> str:
    """`a.b.c` as text; "" for what is no name."""
    return "" if node is None else get_full_name_for_node(node) or ""


def dotted_node(name: str) -> cst.Name | cst.Attribute:
    """The other way round."""
    first, *rest = name.split(".")
    node: cst.Name | cst.Attribute = cst.Name(first)
    for attribute in rest:
        node = cst.Attribute(node, cst.Name(attribute))
    return node
