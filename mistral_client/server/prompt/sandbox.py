"""Runs a chat template, which is code of whoever made the model file, where it can do nothing but write a bounded text.

On top of jinja2's sandbox, which keeps it from everything but its own values: no files, few filters and methods, and a
budget that every turn of a loop, every call of a macro and every piece of text is paid from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from mistral_client.server.engine import EngineError, UnsupportedError

_BUDGET = 4_000_000
"""Characters of text that one rendering may make, half-way results included."""

_STEP = 100
"""What a turn of a loop costs, in characters."""

_FILTERS = """
abs capitalize count d default dictsort first float int items last length list lower map reject rejectattr reverse
round safe select selectattr sort string sum title trim unique upper
"""

_METHODS = """
capitalize count endswith find get index isalnum isalpha isdigit isspace items keys lower lstrip removeprefix
removesuffix rfind rsplit rstrip split splitlines startswith strip title upper values
"""
"""Of texts, lists and mappings: those that make nothing longer."""

MARK = re.compile("\ue000([0-9]{7})\ue001")
"""Stands for a text. An even number: the text as it is; the odd one after it: the text as JSON, without quotes."""

_left: ContextVar[list[int]] = ContextVar("left")
"""What is left of the budget of the rendering that runs."""


class Sandbox:
    """A chat template, compiled. Raises `EngineError` for one that cannot be."""

    def __init__(self, source: str) -> None:
        environment = _Environment(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=_paid,
            extensions=["jinja2.ext.loopcontrols"],
        )
        environment.filters = {name: environment.filters[name] for name in _FILTERS.split()}
        environment.filters |= {"tojson": _tojson, "join": _join, "replace": _replace}
        environment.globals = {name: environment.globals[name] for name in ("dict", "namespace", "range")}
        environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
        try:
            tree = _Metered().visit(environment.parse(source))
            self._template = Template.from_code(environment, environment.compile(tree), environment.globals)
        except (TemplateError, SyntaxError, RecursionError) as error:
            raise EngineError(f"the model file's chat template cannot be run: {error}") from error

    def render(self, values: Mapping[str, object]) -> str:
        """The text that the template makes of its values.

        Raises `UnsupportedError` when the template refuses them, fails, or goes on for too long.
        """
        token = _left.set([_BUDGET])
        try:
            return "".join(self._template.generate(values))
        except Exception as error:
            raise UnsupportedError(f"the model's chat template does not take this conversation: {error}") from error
        finally:
            _left.reset(token)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and isinstance(left, str | list | tuple):
            spend(len(left) + len(right))
        elif operator != "+" and not (_is_small(left) and _is_small(right) and operator != "**"):
            raise SecurityError(f"{operator} is for small numbers alone")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str | list | tuple | dict) and attr not in _METHODS.split():
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is not None:
            raise SecurityError("format is not for templates")
        return None

    def step(self, cost: int) -> bool:
        spend(cost)
        return True

    def joined(self, *values: object) -> str:
        return _join(values)


class _Metered(NodeTransformer):
    """Makes loops, macros and concatenations pay."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        self.generic_visit(node)
        if node.test is not None:
            node.test = nodes.And(_step(0), node.test)
        node.body = [nodes.ExprStmt(_step(_size(node))), *node.body]
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        self.generic_visit(node)
        node.body = [nodes.ExprStmt(_step(_size(node))), *node.body]
        return node

    visit_CallBlock = visit_Macro  # noqa: N815

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:  # noqa: N802
        self.generic_visit(node)
        return nodes.Call(nodes.EnvironmentAttribute("joined"), node.nodes, [], None, None)


def _size(node: nodes.Node) -> int:
    return sum(len(text.data) for text in node.find_all(nodes.TemplateData))


def _step(size: int) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute("step"), [nodes.Const(_STEP + size)], [], None, None)


def spend(cost: int) -> None:
    """Pay for so many characters. Raises `SecurityError` when there is no money left."""
    left = _left.get()
    left[0] -= cost
    if left[0] < 0:
        raise SecurityError("it goes on for too long")


def _paid(value: Any) -> Any:
    if _left.get(None) is not None and not isinstance(value, int | float):
        value = str(value)
        spend(len(value))
    return value


def _is_small(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**31)


def _join(values: Iterable[object], d: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        raise SecurityError("join takes no attribute")
    texts = [str(value) for value in values]
    spend(sum(map(len, texts)) + len(texts) * len(d))
    return d.join(texts)


def _replace(text: object, old: str, new: str, count: int = -1) -> str:
    text = str(text)
    spend(len(text) + text.count(old) * len(new))
    return text.replace(old, new, count)


def _tojson(value: object, ensure_ascii: bool = False, indent: int | None = None, **_options: object) -> str:
    """As in Transformers: no HTML, and keys in their order. Marks come out as those of quoted texts."""
    if ensure_ascii or not (indent is None or 0 <= indent <= 8):
        raise SecurityError("that is no way to write JSON")
    written = json.dumps(value, ensure_ascii=False, indent=indent)
    spend(len(written))
    return MARK.sub(lambda mark: f"\ue000{int(mark[1]) | 1:07d}\ue001", written)


def _raise_exception(message: object) -> None:
    raise TemplateError(str(message))


def _strftime_now(format: str) -> str:
    if not re.fullmatch(r"(%[a-zA-Z%]|[^%]){0,64}", format):
        raise SecurityError("that is no format of a date")
    return datetime.now().astimezone().strftime(format)
