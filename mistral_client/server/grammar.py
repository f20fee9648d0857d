"""JSON schemas as grammars: an answer that is drawn within one parses, and validates against the schema.

The notation is GBNF, https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md. What of a schema cannot be
followed exactly is refused, never left out. All JSON is written on one line: free to choose white space, small models
fill their answer with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import combinations, groupby
from typing import Any

from . import pattern
from .engine import UnsupportedError

_MAX_DEPTH = 64
_MAX_NODES = 10_000
_MAX_CHARACTERS = 1_000_000
_MAX_REPEATS = 1_000
"""llama.cpp writes a repetition out, and refuses about 2,000 of them."""

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')
_FIRST = re.compile(r"(?:^|\| |\( )(r[0-9]+)(?= |$)")
"""A rule at the beginning of an alternative."""

_MAX_LENGTH = 100_000
"""Characters of a string with a bound."""

_MAX_COPIES = 200_000
"""All repetitions together, for llama.cpp writes each out."""

_MAX_WAYS = 500
"""Ways in which a document may go on at the same time. llama.cpp tries the tokens of its vocabulary in each: with
500, one token takes a quarter of a second."""

_COUNT = re.compile(r"([0-9]+)\}")

_MAX_OPTIONAL = 500
"""Properties of one object. llama.cpp tries each of them on each token: with thousands, one token takes seconds."""

_STEPS = 100
"""Of a pattern's work, that count as much as one schema."""

_MAX_APART = 500
"""Schemas of one `oneOf`, each of which is compared with each."""

_MAX_CALLS = 8
"""In one answer."""

_JSON = r"""
value ::= object | array | string | number | boolean | null
object ::= "{" ( member ( ", " member )* )? "}"
member ::= string ": " value
array ::= "[" ( value ( ", " value )* )? "]"
string ::= "\"" character* "\""
character ::= [ !#-\[\]-~\x80-\uD7FF\uE000-\U0010FFFF] | "\\" ( ["\\/bfnrt] | "u" code )
code ::= [0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}
number ::= integer ( "." [0-9]{1,16} )? ( [eE] [-+]? [0-9]{1,2} )?
integer ::= "-"? ( "0" | [1-9] [0-9]{0,15} )
boolean ::= "true" | "false"
null ::= "null"
"""
"""What schemas are made of. No string holds half a surrogate pair, and no number more than a float holds."""

ANY_OBJECT = f"root ::= object{_JSON}"
"""Any JSON object."""

_BYTE = '( [0-9] | [1-9] [0-9] | "1" [0-9] [0-9] | "2" [0-4] [0-9] | "25" [0-5] )'
_FORMATS = {
    "date": '[0-9]{4} "-" ( "0" [1-9] | "1" [0-2] ) "-" ( "0" [1-9] | "1" [0-9] | "2" [0-8] )',
    "time": '( [01] [0-9] | "2" [0-3] ) ":" [0-5] [0-9] ":" [0-5] [0-9] "Z"',
    "ipv4": f'{_BYTE} "." {_BYTE} "." {_BYTE} "." {_BYTE}',
    "email": '[A-Za-z0-9]{1,30} ( [._+-] [A-Za-z0-9]{1,30} ){0,2} "@" ( [a-z0-9]{1,30} "." ){1,3} [a-z]{2,10}',
    "uuid": '[0-9a-f]{8} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{12}',
}
_FORMATS["date-time"] = f'{_FORMATS["date"]} "T" {_FORMATS["time"]}'

_ANNOTATIONS = {
    *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
    *("$schema", "$id", "$comment", "$defs", "definitions", "discriminator"),
}
"""Keywords that allow and forbid nothing."""

_KEYWORDS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "format", "pattern"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set[str](),
    "null": set[str](),
}
"""What is followed, by type."""


def of_schema(schema: Mapping[str, Any]) -> str:
    """The grammar of the JSON documents that a schema describes.

    Raises `UnsupportedError` that names the place in the schema which cannot be followed.
    """
    rules = _Rules(schema)
    return rules.text(rules.of(schema, "#"))


def of_calls(functions: Sequence[tuple[str, Mapping[str, Any]]], *, mark: str, required: bool, parallel: bool) -> str:
    """The grammar of answers that call functions: `mark`, then an array of `{"name": ..., "arguments": ...}`.

    functions: their names, and the JSON schemas of their arguments.
    required: the answer calls one; else it may also be any text that does not begin with the mark.
    parallel: it may make several calls, up to 8.

    Raises `UnsupportedError` for a schema that cannot be followed.
    """
    if not functions:
        raise UnsupportedError("there is no function to call")
    rules = _Rules({})
    calls = []
    for name, parameters in functions:
        rules.turn_to(parameters)
        schema = {"type": "object", "properties": {}} | dict(parameters)
        arguments = rules.of(schema, f"#/{name}")
        calls.append(f'{_literal({"name": name})[:-2]}, \\"arguments\\": " {arguments} "}}"')
    call = rules.add(" | ".join(calls))
    rules.go_on(call, len(calls), "#")
    more = f' ( ", " {call} ){{0,{_MAX_CALLS - 1}}}' if parallel else ""
    root = f'{_text(mark)} " "? "[" {call}{more} "]"'
    return rules.text(root if required else f"{root} | {_other_text(mark)}")


def _other_text(mark: str) -> str:
    """Any text that does not begin with the mark."""
    ways = ['""']
    for end, letter in enumerate(mark):
        ways.append(
            f"{_text(mark[:end])} ( [^{_in_class(letter)}] anything )?" if end else f"[^{_in_class(letter)}] anything"
        )
    return " | ".join(ways)


class _Rules:
    """The rules of a grammar, as they are added."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        """root: what `$ref` points into."""
        self._root = root
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._nodes = 0
        self._loops = 0
        """How often a reference was met that leads back to where it stands."""
        self._looping: set[str] = set()
        self._references: dict[str, str] = {}
        self._ways: dict[str, int] = {}
        """In how many ways an expression may go on at the same time, where it is not one."""

    def turn_to(self, root: Mapping[str, Any]) -> None:
        """Go on with another schema, into which `$ref` points from now on."""
        self._root, self._references = root, {}

    def text(self, root: str) -> str:
        lines = [f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._rules.items())]
        text = "\n".join(lines) + _JSON + "anything ::= [^\\x00]*\n"
        copies = sum(min(int(count), _MAX_COPIES + 1) for count in _COUNT.findall(_LITERAL.sub("-", text)))
        if len(text) > _MAX_CHARACTERS or copies > _MAX_COPIES:
            raise UnsupportedError("the schema is too large to be followed")
        return text

    def add(self, body: str) -> str:
        """The name of the rule with this body."""
        if body not in self._names:
            self._names[body] = self._reserve()
            self._rules[self._names[body]] = body
        return self._names[body]

    def go_on(self, expression: str, ways: int, where: str) -> str:
        """The expression, of which it is known from now on in how many ways it may go on at the same time."""
        if ways > _MAX_WAYS:
            raise _refused(where, f"more than {_MAX_WAYS} ways to go on at the same time")
        self._ways[expression] = max(self._ways.get(expression, 1), ways)
        return expression

    def _most_ways(self, expressions: Iterable[str]) -> int:
        return max((self._ways.get(expression, 1) for expression in expressions), default=1)

    def _reserve(self) -> str:
        name = f"r{len(self._rules)}"
        self._rules[name] = ""
        return name

    def of(self, schema: object, where: str, depth: int = 0) -> str:
        """An expression for the documents of a schema."""
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise UnsupportedError("the schema is too deep or too large to be followed")
        if schema is True or schema == {}:
            return "value"
        if not isinstance(schema, Mapping):
            raise _refused(where, f"{schema!r:.40}")
        if schema.get("uniqueItems") is False:
            schema = {keyword: value for keyword, value in schema.items() if keyword != "uniqueItems"}
        if "$ref" in schema:
            self._only(schema, {"$ref"}, where)
            return self._reference(schema["$ref"], where, depth)
        if "const" in schema or "enum" in schema:
            return self._choice(schema, where)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                self._only(schema, {keyword}, where)
                return self._any_of(schema[keyword], f"{where}/{keyword}", depth, exactly_one=keyword == "oneOf")
        if "allOf" in schema:
            every = schema["allOf"]
            if isinstance(every, list) and len(every) == 1 and not set(schema) - _ANNOTATIONS - {"allOf"}:
                return self.of(every[0], f"{where}/allOf/0", depth + 1)
            return self.of(self._merged(schema, where, depth), where, depth + 1)
        kinds = _kinds(schema, where)
        self._only(schema, {"type", "nullable"}.union(*(_KEYWORDS[kind] for kind in kinds)), where)
        ways = [self._of_type(kind, schema, where, depth) for kind in dict.fromkeys(kinds)]
        return ways[0] if len(ways) == 1 else self.go_on(f"( {' | '.join(ways)} )", self._most_ways(ways), where)

    def _choice(self, schema: Mapping[str, Any], where: str) -> str:
        """One of several values that are written out."""
        keyword = "const" if "const" in schema else "enum"
        self._only(schema, {keyword, "type"} | ({"nullable"} if "type" in schema else set()), where)
        values = [schema["const"]] if keyword == "const" else schema["enum"]
        if not isinstance(values, list):
            raise _refused(where, keyword)
        kinds = _kinds(schema, where) if "type" in schema else list(_KEYWORDS)
        if "number" in kinds:
            kinds = [*kinds, "integer"]
        values = [value for value in values if _kind(value) in kinds]
        if not values:
            raise _refused(where, f"{keyword} without a value of the type")
        return self._one_of({json.dumps(value, ensure_ascii=False) for value in values if _literal(value)})

    def _one_of(self, texts: Iterable[str]) -> str:
        """One of these texts. What several begin with is written once: llama.cpp tries each way on each token."""
        whole = self._reserve()
        ahead = [(whole, sorted(texts), 0)]
        while ahead:
            name, group, at = ahead.pop()
            ways = []
            for first, alike in groupby(group, lambda text, at=at: text[at : at + 1]):  # type: ignore[misc]
                same = list(alike)
                if not first:
                    ways.append('""')
                elif len(same) == 1:
                    ways.append(_text(same[0][at:]))
                else:
                    end = at + 1
                    while same[0][end : end + 1] == same[-1][end : end + 1] != "":
                        end += 1
                    rest = self._reserve()
                    ahead.append((rest, same, end))
                    ways.append(f"{_text(same[0][at:end])} {rest}")
            self._rules[name] = " | ".join(ways)
        return whole

    def _of_type(self, kind: str, schema: Mapping[str, Any], where: str, depth: int) -> str:
        match kind:
            case "object":
                return self._object(schema, where, depth)
            case "array":
                return self._array(schema, where, depth)
            case "string":
                return self._string(schema, where)
            case "integer":
                digits = _integer(schema, where)
                return self.go_on(digits, digits.count(" | ") + 1, where)
            case "number":
                digits = _number(schema, where)
                return self.go_on(digits, digits.count(" | ") + 1, where)
            case _:
                return kind

    def _only(self, schema: Mapping[str, Any], followed: set[str], where: str) -> None:
        for keyword in schema:
            if keyword not in followed and keyword not in _ANNOTATIONS:
                raise _refused(where, keyword)

    def _reference(self, target: object, where: str, depth: int) -> str:
        if not isinstance(target, str) or not target.startswith("#"):
            raise _refused(where, f"$ref {target!r:.60}")
        if target not in self._references:
            node = self._target(target)
            if isinstance(node, Mapping) and set(node) == {"$ref"}:
                raise _refused(where, f"$ref {target!r:.60}")
            # Known before it is written, because it may refer to itself.
            self._references[target] = name = self._reserve()
            self._looping.add(name)
            before = self._loops
            self._rules[name] = body = self.of(node, target, depth + 1)
            self.go_on(name, self._most_ways([body]), where)
            if self._loops == before:
                self._looping.remove(name)
            if self._begins_with(name):
                raise _refused(where, f"$ref {target!r:.60}, which begins with itself")
        elif self._references[target] in self._looping:
            self._loops += 1
        return self._references[target]

    def _target(self, target: str) -> Any:
        """What a reference points to, or nothing."""
        node: Any = self._root
        for step in target.removeprefix("#").split("/")[1:]:
            node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
        return node

    def _resolved(self, schema: object, where: str, depth: int) -> object:
        """A schema without `$ref` and `allOf` at its top."""
        while isinstance(schema, Mapping) and ("$ref" in schema or "allOf" in schema):
            depth += 1
            if depth > _MAX_DEPTH:
                raise _refused(where, "schemas that contain themselves")
            if "$ref" not in schema:
                return self._merged(schema, where, depth)
            self._only(schema, {"$ref"}, where)
            if not isinstance(schema["$ref"], str) or not schema["$ref"].startswith("#"):
                raise _refused(where, f"$ref {schema['$ref']!r:.60}")
            schema = self._target(schema["$ref"])
        return schema

    def _merged(self, schema: Mapping[str, Any], where: str, depth: int) -> Mapping[str, Any]:
        """One schema of objects for all of `allOf`, and for what stands beside it."""
        self._nodes += 1
        every = schema["allOf"]
        if not isinstance(every, list) or not every or self._nodes > _MAX_NODES:
            raise _refused(where, "allOf")
        beside = {keyword: value for keyword, value in schema.items() if keyword not in _ANNOTATIONS | {"allOf"}}
        parts = [self._resolved(one, f"{where}/allOf/{n}", depth + 1) for n, one in enumerate(every)]
        properties: dict[str, Any] = {}
        required: dict[str, None] = {}
        closed: list[set[str]] = []
        typed = False
        for part in [*parts, beside] if beside else parts:
            if not isinstance(part, Mapping) or part.get("type", "object") != "object":
                raise _refused(where, "allOf with anything but schemas of objects")
            self._only(part, {"type", "properties", "required", "additionalProperties"}, where)
            typed = typed or "type" in part
            named, needed = part.get("properties", {}), part.get("required", [])
            if not isinstance(named, Mapping) or not isinstance(needed, list):
                raise _refused(where, "properties")
            if not all(isinstance(name, str) for name in needed):
                raise _refused(where, "required")
            extra = part.get("additionalProperties", True)
            if extra is False:
                closed.append(set(named))
            elif extra is not True and extra != {}:
                raise _refused(where, "allOf with additionalProperties that are a schema")
            for name, value in named.items():
                known = properties.get(name, value)
                properties[name] = value if _literal(known) == _literal(value) else {"allOf": [known, value]}
            required |= dict.fromkeys(needed)
        if not typed:
            raise _refused(where, "allOf without a type")
        if any(names != set(properties) for names in closed):
            raise _refused(where, "allOf with additionalProperties that forbid what another schema names")
        merged = {"type": "object", "properties": properties, "required": list(required)}
        return merged | ({"additionalProperties": False} if closed else {})

    def _apart(self, schemas: list[Any], where: str, depth: int) -> list[Any]:
        """The schemas such that no document is valid for two of them.

        Schemas of objects are told apart by a property with other constants in each, which is then required.
        """
        if len(schemas) > _MAX_APART:
            raise _refused(where, f"more than {_MAX_APART} schemas")
        whole = [self._resolved(one, f"{where}/{n}", depth) for n, one in enumerate(schemas)]
        kinds = [_possible_kinds(one, f"{where}/{n}") for n, one in enumerate(whole)]
        values = [_values(one) for one in whole]
        alike = []
        for one, other in combinations(range(len(whole)), 2):
            if not kinds[one] & kinds[other]:
                continue
            first, second = values[one], values[other]
            if first is not None and second is not None and not first & second:
                continue
            if kinds[one] != {"object"} or kinds[other] != {"object"}:
                raise _refused(where, "schemas that may overlap")
            alike += [one, other]
        if not alike:
            return schemas
        objects = sorted(set(alike))
        properties = [_properties(whole[n]) for n in objects]
        for name in properties[0]:
            constants = [_values(one.get(name)) for one in properties]
            known = [one for one in constants if one is not None]
            if len(known) == len(objects) and len(set[str]().union(*known)) == sum(map(len, known)):
                for n in objects:
                    schemas = [*schemas[:n], _requiring(schemas[n], whole[n], name), *schemas[n + 1 :]]
                return schemas
        raise _refused(where, "schemas that may overlap")

    def _begins_with(self, name: str) -> bool:
        """Whether a rule can begin with itself, which llama.cpp cannot read."""
        seen: set[str] = set()
        ahead = [name]
        while ahead:
            found = set(_FIRST.findall(_LITERAL.sub("-", self._rules[ahead.pop()]))) & self._rules.keys()
            if name in found:
                return True
            ahead += found - seen
            seen |= found
        return False

    def _any_of(self, schemas: object, where: str, depth: int, *, exactly_one: bool = False) -> str:
        if not isinstance(schemas, list) or not schemas:
            raise _refused(where, "an empty list")
        if exactly_one:
            schemas = self._apart(schemas, where, depth)
        ways, begun = [], []
        for n, one in enumerate(schemas):
            loops = self._loops
            ways.append(self.of(one, f"{where}/{n}", depth + 1))
            if self._loops > loops:
                begun.append(self._beginning(one))
        # llama.cpp follows every way at once: two that begin alike and hold each other double with each level.
        if len(begun) > 1 and ("" in begun or len(set(begun)) < len(begun)):
            raise _refused(where, "alternatives that contain themselves and cannot be told apart by a first constant")
        return self.go_on(f"( {' | '.join(ways)} )", self._together(schemas, ways), where)

    def _together(self, schemas: Sequence[object], ways: Sequence[str]) -> int:
        """In how many ways one of these schemas may go on. Those that begin differently are soon told apart."""
        alike: dict[str, int] = {}
        unknown = 0
        for schema, expression in zip(schemas, ways, strict=True):
            beginning, more = self._beginning(schema) or _only_kind(schema), self._ways.get(expression, 1)
            if beginning:
                alike[beginning] = alike.get(beginning, 0) + more
            else:
                unknown += more
        return max(len(schemas), unknown + max(alike.values(), default=0))

    def _beginning(self, schema: object) -> str:
        """What the documents of an object's schema all begin with, if that is a constant; or nothing."""
        while isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
            schema = self._target(schema["$ref"])
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        if not isinstance(schema, Mapping) or not isinstance(properties, Mapping) or not properties:
            return ""
        name, first = next(iter(properties.items()))
        if name not in schema.get("required", []) or not isinstance(first, Mapping) or "const" not in first:
            return ""
        return f"{name!r} {_literal(first['const'])}"

    def _object(self, schema: Mapping[str, Any], where: str, depth: int) -> str:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        extra = schema.get("additionalProperties", "properties" not in schema)
        if (
            not isinstance(properties, Mapping)
            or not isinstance(required, list)
            or not all(isinstance(name, str) for name in required)
        ):
            raise _refused(where, "properties")
        missing = [name for name in required if name not in properties]
        if missing and schema.get("additionalProperties") is False:
            raise _refused(where, f"{missing[0]!r:.40}, which is required and forbidden,")
        if properties or missing:
            # Further members would have to differ from those with a name. Documents without them are valid as well.
            if missing:
                properties = {**properties, **dict.fromkeys(missing, True if extra is False else extra)}
            return self._members(properties, set(required), where, depth)
        if extra is False:
            return '"{}"'
        value = self.of(extra, f"{where}/additionalProperties", depth + 1)
        member = f'string ": " {value}'
        return self.go_on(self.add(f'"{{" ( {member} ( ", " {member} )* )? "}}"'), self._most_ways([value]), where)

    def _members(self, properties: Mapping[str, Any], required: set[str], where: str, depth: int) -> str:
        if len(properties) - len(required) > _MAX_OPTIONAL:
            raise _refused(where, f"more than {_MAX_OPTIONAL} optional properties")
        values = {name: self.of(schema, f"{where}/properties/{name}", depth + 1) for name, schema in properties.items()}
        members = [(f'{_literal(name)} ": " {value}', name in required) for name, value in values.items()]
        # From the last to the first. rest: what may come after a member; first: where none has come yet.
        rest, first, may_be_empty = "", "", True
        for member, needed in reversed(members):
            name = self.add(member)
            begun = f"{name} {rest}".rstrip()
            first = self.add(begun if needed or not first else f"{begun} | {first}")
            rest = self.add(f'", " {begun}' if needed else f'( ", " {name} )? {rest}'.rstrip())
            may_be_empty = may_be_empty and not needed
        whole = self.add(f'"{{" ( {first} )? "}}"' if may_be_empty else f'"{{" {first} "}}"')
        return self.go_on(whole, self._most_ways(values.values()), where)

    def _array(self, schema: Mapping[str, Any], where: str, depth: int) -> str:
        fixed = schema.get("prefixItems", [])
        least, most = _bounds(schema, "minItems", "maxItems", where, _MAX_REPEATS)
        if not isinstance(fixed, list):
            raise _refused(where, "prefixItems")
        if fixed:
            if least != len(fixed) or most != len(fixed):
                raise _refused(where, "prefixItems without minItems and maxItems of the same number")
            items = [self.of(item, f"{where}/prefixItems/{n}", depth + 1) for n, item in enumerate(fixed)]
            return self.go_on(self.add('"[" ' + ' ", " '.join(items) + ' "]"'), self._most_ways(items), where)
        if most == 0:
            return '"[]"'
        value = self.of(schema.get("items", True), f"{where}/items", depth + 1)
        item = self.add(value)
        more = f'( ", " {item} ){{{max(least - 1, 0)},{"" if most is None else most - 1}}}'
        whole = self.add(f'"[" {item} {more} "]"' if least else f'"[" ( {item} {more} )? "]"')
        return self.go_on(whole, self._most_ways([value]), where)

    def _string(self, schema: Mapping[str, Any], where: str) -> str:
        if "format" in schema:
            if {"minLength", "maxLength"} & set(schema):
                raise _refused(where, "a format beside a length")
            if not isinstance(schema["format"], str) or schema["format"] not in _FORMATS:
                raise _refused(where, f"format {schema['format']!r:.40}")
            if "pattern" in schema:
                raise _refused(where, "a format beside a pattern")
            return self.add(f'"\\"" {_FORMATS[schema["format"]]} "\\""')
        least, most = _bounds(schema, "minLength", "maxLength", where, _MAX_LENGTH)
        if "pattern" in schema:
            return self._with_pattern(schema["pattern"], least, most, where)
        if not least and most is None:
            return "string"
        return self.add(f'"\\"" {self._characters(least, most)} "\\""')

    def _with_pattern(self, expression: object, least: int, most: int | None, where: str) -> str:
        if not isinstance(expression, str):
            raise _refused(where, f"pattern {expression!r:.40}")
        try:
            allowed = pattern.automaton(expression, least, most)
        except UnsupportedError as error:
            raise _refused(where, f"pattern {expression!r:.60} ({error})") from None
        self._nodes += allowed.steps // _STEPS
        names = [self._reserve() for _ in allowed.moves]
        for name, moves, ends in zip(names, allowed.moves, allowed.ends, strict=True):
            ways = [f"{self.add(_character_of(ranges))} {names[to]}" for ranges, to in moves]
            self._rules[name] = " | ".join(ways + ['""'] * ends)
        return self.add(f'"\\"" {names[0]} "\\""')

    def _characters(self, least: int, most: int | None) -> str:
        """So many characters, in stretches that llama.cpp takes."""
        if most is None or most <= _MAX_REPEATS:
            return f"character{{{least},{'' if most is None else most}}}"
        whole, part = self.add(f"character{{{_MAX_REPEATS}}}"), self.add(f"character{{0,{_MAX_REPEATS - 1}}}")
        stretches, left = divmod(most - least, _MAX_REPEATS)
        rest = self.add(f"character{{0,{left}}}")
        for _ in range(stretches):
            rest = self.add(f"{whole} {rest} | {part}")
        return f"character{{{least}}} {rest}" if least else rest


def _kinds(schema: Mapping[str, Any], where: str) -> list[str]:
    """The types that a schema names or, where it names none, that its keywords are for."""
    if "type" not in schema:
        kinds = [kind for kind, keywords in _KEYWORDS.items() if keywords & set(schema)]
        if kinds == ["integer", "number"]:
            return ["number"]
        if len(kinds) > 1:
            raise _refused(where, "keywords of several types without a type")
        return kinds or [kind for kind in _KEYWORDS if kind != "integer"]
    nullable = schema.get("nullable", False)
    if not isinstance(nullable, bool):
        raise _refused(where, f"nullable {nullable!r:.40}")
    return _stated_kinds(schema, where) + ["null"] * nullable


def _possible_kinds(schema: object, where: str) -> set[str]:
    """The types of the values of a schema that states them, or writes its values out."""
    if isinstance(schema, Mapping) and "type" not in schema:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, list):
            return {_kind(value) for value in values}
    _stated_kinds(schema, where)
    kinds = set(_kinds(schema, where)) if isinstance(schema, Mapping) else set[str]()
    return kinds | {"integer"} if "number" in kinds else kinds


def _only_kind(schema: object) -> str:
    """The type of all documents of a schema, where they are no objects; or nothing."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if not isinstance(kind, str) or kind == "object" or (isinstance(schema, Mapping) and schema.get("nullable")):
        return ""
    return "number" if kind == "integer" else kind


def _values(schema: object) -> set[str] | None:
    """The values of a schema that writes them out, as far as they are no arrays and objects; or nothing."""
    if not isinstance(schema, Mapping):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or {"array", "object"} & {_kind(value) for value in values}:
        return None
    return {_literal(int(value) if _kind(value) == "integer" else value) for value in values}


def _properties(schema: object) -> Mapping[str, Any]:
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _requiring(schema: object, whole: object, name: str) -> object:
    """A schema, of which `whole` is the resolved form, with a property that is required."""
    required = whole.get("required", []) if isinstance(whole, Mapping) else []
    if not isinstance(whole, Mapping) or not isinstance(required, list) or name in required:
        return schema
    return {**whole, "required": [*required, name]}


def _stated_kinds(schema: object, where: str) -> list[str]:
    """The types that a schema names. Raises `UnsupportedError` where it names none."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    kinds = [kind] if isinstance(kind, str) else kind
    if not isinstance(kinds, list) or not kinds or not all(isinstance(one, str) and one in _KEYWORDS for one in kinds):
        raise _refused(where, f"type {kind!r:.40}")
    return kinds


def _kind(value: object) -> str:
    """The type of a JSON value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _bounds(schema: Mapping[str, Any], least: str, most: str, where: str, longest: int) -> tuple[int, int | None]:
    """At least and at most so many. What is longer than `longest` is not generated."""
    low, high = schema.get(least, 0), schema.get(most)
    for value in (low, 0 if high is None else high):
        if type(value) is not int or value < 0:
            raise _refused(where, f"{least} or {most} that is no count")
    if low > _MAX_REPEATS:
        raise _refused(where, f"{least} over {_MAX_REPEATS}")
    if high is not None and low > high:
        raise _refused(where, f"{least} over {most}")
    return low, high if high is None else min(high, longest)


def _integer(schema: Mapping[str, Any], where: str) -> str:
    limits = []
    for bound, strict, step in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        values = [schema.get(keyword, 0) for keyword in (bound, strict)]
        if not all(type(value) is int and abs(value) < 10**15 for value in values):
            raise _refused(where, f"{bound} or {strict} that is no integer of at most 15 digits")
        given = [schema[bound]] if bound in schema else []
        given += [schema[strict] + step] if strict in schema else []
        limits.append((max if step > 0 else min)(given) if given else None)
    low, high = limits
    if low is None and high is None:
        return "integer"
    low = -(10**15) + 1 if low is None else low
    high = 10**15 - 1 if high is None else high
    if low > high:
        raise _refused(where, "minimum over maximum")
    ways = []
    if low < 0:
        ways += [f'"-" {way}' for way in _range(max(1, -high), -low)]
    if high >= 0:
        ways += _range(max(0, low), high)
    return f"( {' | '.join(ways)} )"


def _number(schema: Mapping[str, Any], where: str) -> str:
    """A number within bounds, written without an exponent, in at most 15 digits: a float keeps those apart."""
    low, low_open = _limit(schema, "minimum", "exclusiveMinimum", 1, where)
    high, high_open = _limit(schema, "maximum", "exclusiveMaximum", -1, where)
    if low is None and high is None:
        return "number"
    ways = []
    if low is None or low < 0:
        # Zero has no sign.
        least, least_open = (Decimal(0), True) if high is None or high >= 0 else (-high, high_open)
        most = None if low is None else -low
        ways += [f'"-" {way}' for way in _magnitudes(least, least_open, most, low_open)]
    if high is None or high >= 0:
        least, least_open = (Decimal(0), False) if low is None or low < 0 else (low, low_open)
        ways += _magnitudes(least, least_open, high, high_open)
    if not ways:
        raise _refused(where, "minimum over maximum")
    return f"( {' | '.join(ways)} )"


def _limit(schema: Mapping[str, Any], bound: str, strict: str, sign: int, where: str) -> tuple[Decimal | None, bool]:
    """The narrower of two bounds, and whether it is itself left out."""
    given = []
    for keyword in (bound, strict):
        if keyword in schema:
            value = schema[keyword]
            if type(value) not in (int, float) or not abs(value) < 10**9:
                raise _refused(where, f"{keyword} that is no number under 1,000,000,000")
            exact = Decimal(repr(value)).normalize()
            if -int(exact.as_tuple().exponent) > 15 - len(str(abs(int(exact)))):
                raise _refused(where, f"{keyword} of more than 15 digits")
            given.append((exact * sign, keyword == strict))
    if not given:
        return None, False
    value, is_open = max(given)
    return value * sign, is_open


def _magnitudes(low: Decimal, low_open: bool, high: Decimal | None, high_open: bool) -> list[str]:
    """The digits of the numbers from low, which is not below 0, to high."""
    if high is not None and (low > high or (low == high and (low_open or high_open))):
        return []
    first, low_rest = _parts(low)
    last, high_rest = (10**9, "") if high is None else _parts(high)
    digits = 15 - len(str(last))
    if first == last:
        return [f'"{first}" {way}' for way in _fraction(low_rest, low_open, high_rest, high_open, digits)]
    ways = [f'"{first}" {way}' for way in _fraction(low_rest, low_open, None, False, digits)]
    ways += [f'{way} ( "." [0-9]{{1,{digits}}} )?' for way in _range(first + 1, last - 1)]
    return ways + [f'"{last}" {way}' for way in _fraction(None, False, high_rest, high_open, digits)]


def _parts(value: Decimal) -> tuple[int, str]:
    """What stands before and after the point."""
    whole, _, rest = f"{value:f}".partition(".")
    return int(whole), rest.rstrip("0")


def _fraction(low: str | None, low_open: bool, high: str | None, high_open: bool, left: int) -> list[str]:
    """What may follow the digits before the point, such that it is within these digits after it."""
    more = _decimals(low, low_open, high, high_open, left)
    ends = _may_end(low, low_open, high, high_open)
    return ['""'] * ends + [f'"." {way}' for way in more]


def _may_end(low: str | None, low_open: bool, high: str | None, high_open: bool) -> bool:
    return (low is None or (not low and not low_open)) and (high is None or bool(high) or not high_open)


def _decimals(low: str | None, low_open: bool, high: str | None, high_open: bool, left: int) -> list[str]:
    """At least one digit, and all that may follow it. A bound that is nothing no longer binds."""
    if low == "" and not low_open:
        low = None
    if left == 0 or high == "":
        return []
    if low is None and high is None:
        return [f"[0-9]{{1,{left}}}"]
    least = int(low[:1] or 0) if low is not None else 0
    most = int(high[:1]) if high is not None else 9
    ways = []
    between = [d for d in range(least, most + 1) if (low is None or d > least) and (high is None or d < most)]
    if between:
        ways.append(f"[{between[0]}-{between[-1]}] [0-9]{{0,{left - 1}}}")
    edges = ({least} if low is not None else set()) | ({most} if high is not None else set())
    for digit in sorted(digit for digit in edges if least <= digit <= most):
        below = low[1:] if low is not None and digit == least else None
        above = high[1:] if high is not None and digit == most else None
        if _may_end(below, low_open, above, high_open):
            ways.append(f'"{digit}"')
        ways += [f'"{digit}" {way}' for way in _decimals(below, low_open, above, high_open, left - 1)]
    return ways


def _range(low: int, high: int) -> list[str]:
    """The digits of each number from low to high, neither below 0."""
    ways: list[str] = []
    while low <= high:
        # As many free digits at the end as keep the number within the bounds, and of the same length.
        free = 0
        while low and low % 10 ** (free + 1) == 0 and low + 10 ** (free + 1) - 1 <= high:
            free += 1
        step = 10**free
        last = low // step % 10
        until = min(last + (high - low + 1) // step - 1, 9)
        if not low:
            until = 0
        head = str(low // step)[:-1]
        ways.append(
            " ".join(
                filter(None, [f'"{head}"' if head else "", f"[{last}-{until}]", f"[0-9]{{{free}}}" if free else ""])
            )
        )
        low += (until - last + 1) * step
    return ways


def _literal(value: object) -> str:
    """JSON as a text of the grammar. Raises `UnsupportedError` for what is none."""
    try:
        return _text(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise UnsupportedError("the schema holds what is not JSON") from None


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _character_of(ranges: pattern.Ranges) -> str:
    """A character of these, as it is written within a string."""
    plain: list[str] = []
    ways: list[str] = []
    controls: list[int] = []
    for low, high in ranges:
        controls += range(low, min(high, 31) + 1)
        for begin, end in ((32, 33), (35, 91), (93, 0xD7FF), (0xE000, 0x10FFFF)):
            if max(low, begin) <= min(high, end):
                plain.append(f"{_in_class(chr(max(low, begin)))}-{_in_class(chr(min(high, end)))}")
        ways += [_text(json.dumps(letter)[1:-1]) for letter in '"\\' if low <= ord(letter) <= high]
    if plain:
        ways.insert(0, f"[{''.join(plain)}]")
    short = "".join(letter for letter, code in zip("btnfr", (8, 9, 10, 12, 13), strict=True) if code in controls)
    if short:
        ways.append(f'"\\\\" [{short}]')
    for half in (0, 1):
        digits = "".join(f"{code % 16:x}" for code in controls if code // 16 == half)
        if digits:
            ways.append(f'"\\\\u00{half}" [{digits}]')
    return f"( {' | '.join(ways)} )"


def _in_class(letter: str) -> str:
    return f"\\U{ord(letter):08X}"


def _refused(where: str, what: str) -> UnsupportedError:
    return UnsupportedError(f"the schema cannot be followed: {what} at {where}")
