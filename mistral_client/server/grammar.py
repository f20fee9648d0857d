"""JSON schemas as grammars: an answer that is drawn within one parses, and validates against the schema.

The notation is GBNF, https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md. What of a schema cannot be
followed exactly is refused, never left out. All JSON is written on one line: free to choose white space, small models
fill their answer with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

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

_COUNT = re.compile(r"([0-9]+)\}")

_MAX_OPTIONAL = 500
"""Properties of one object. llama.cpp tries each of them on each token: with thousands, one token takes seconds."""

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
    "string": {"minLength", "maxLength", "format"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": set[str](),
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
            self._only(schema, {"allOf"}, where)
            if not isinstance(schema["allOf"], list) or len(schema["allOf"]) != 1:
                raise _refused(where, "allOf")
            return self.of(schema["allOf"][0], f"{where}/allOf/0", depth + 1)
        kinds = _kinds(schema, where)
        self._only(schema, {"type"}.union(*(_KEYWORDS[kind] for kind in kinds)), where)
        ways = [self._of_type(kind, schema, where, depth) for kind in dict.fromkeys(kinds)]
        return ways[0] if len(ways) == 1 else f"( {' | '.join(ways)} )"

    def _choice(self, schema: Mapping[str, Any], where: str) -> str:
        """One of several values that are written out."""
        keyword = "const" if "const" in schema else "enum"
        self._only(schema, {keyword, "type"}, where)
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
                return _integer(schema, where)
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
            node: Any = self._root
            for step in target.removeprefix("#").split("/")[1:]:
                node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
            if isinstance(node, Mapping) and set(node) == {"$ref"}:
                raise _refused(where, f"$ref {target!r:.60}")
            # Known before it is written, because it may refer to itself.
            self._references[target] = name = self._reserve()
            self._looping.add(name)
            before = self._loops
            self._rules[name] = self.of(node, target, depth + 1)
            if self._loops == before:
                self._looping.remove(name)
            if self._begins_with(name):
                raise _refused(where, f"$ref {target!r:.60}, which begins with itself")
        elif self._references[target] in self._looping:
            self._loops += 1
        return self._references[target]

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
            kinds = [kind for n, one in enumerate(schemas) for kind in _stated_kinds(one, f"{where}/{n}")]
            if len(set(kinds)) < len(kinds) or {"integer", "number"} <= set(kinds):
                raise _refused(where, "schemas that may overlap")
        ways, begun = [], []
        for n, one in enumerate(schemas):
            loops = self._loops
            ways.append(self.of(one, f"{where}/{n}", depth + 1))
            if self._loops > loops:
                begun.append(self._beginning(one))
        # llama.cpp follows every way at once: two that begin alike and hold each other double with each level.
        if len(begun) > 1 and ("" in begun or len(set(begun)) < len(begun)):
            raise _refused(where, "alternatives that contain themselves and cannot be told apart by a first constant")
        return f"( {' | '.join(ways)} )"

    def _beginning(self, schema: object) -> str:
        """What the documents of an object's schema all begin with, if that is a constant; or nothing."""
        while isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
            node: Any = self._root
            for step in schema["$ref"].removeprefix("#").split("/")[1:]:
                node = node[step.replace("~1", "/").replace("~0", "~")]
            schema = node
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
        if properties or missing:
            # Further members would have to differ from those with a name. Documents without them are valid as well.
            if missing:
                properties = {**properties, **dict.fromkeys(missing, True if extra is False else extra)}
            return self._members(properties, set(required), where, depth)
        if extra is False:
            return '"{}"'
        member = f'string ": " {self.of(extra, f"{where}/additionalProperties", depth + 1)}'
        return self.add(f'"{{" ( {member} ( ", " {member} )* )? "}}"')

    def _members(self, properties: Mapping[str, Any], required: set[str], where: str, depth: int) -> str:
        if len(properties) - len(required) > _MAX_OPTIONAL:
            raise _refused(where, f"more than {_MAX_OPTIONAL} optional properties")
        members = [
            (f'{_literal(name)} ": " {self.of(schema, f"{where}/properties/{name}", depth + 1)}', name in required)
            for name, schema in properties.items()
        ]
        # From the last to the first. rest: what may come after a member; first: where none has come yet.
        rest, first, may_be_empty = "", "", True
        for member, needed in reversed(members):
            name = self.add(member)
            begun = f"{name} {rest}".rstrip()
            first = self.add(begun if needed or not first else f"{begun} | {first}")
            rest = self.add(f'", " {begun}' if needed else f'( ", " {name} )? {rest}'.rstrip())
            may_be_empty = may_be_empty and not needed
        return self.add(f'"{{" ( {first} )? "}}"' if may_be_empty else f'"{{" {first} "}}"')

    def _array(self, schema: Mapping[str, Any], where: str, depth: int) -> str:
        fixed = schema.get("prefixItems", [])
        least, most = _bounds(schema, "minItems", "maxItems", where, _MAX_REPEATS)
        if not isinstance(fixed, list):
            raise _refused(where, "prefixItems")
        if fixed:
            if least != len(fixed) or most != len(fixed):
                raise _refused(where, "prefixItems without minItems and maxItems of the same number")
            items = [self.of(item, f"{where}/prefixItems/{n}", depth + 1) for n, item in enumerate(fixed)]
            return self.add('"[" ' + ' ", " '.join(items) + ' "]"')
        if most == 0:
            return '"[]"'
        item = self.add(self.of(schema.get("items", True), f"{where}/items", depth + 1))
        more = f'( ", " {item} ){{{max(least - 1, 0)},{"" if most is None else most - 1}}}'
        return self.add(f'"[" {item} {more} "]"' if least else f'"[" ( {item} {more} )? "]"')

    def _string(self, schema: Mapping[str, Any], where: str) -> str:
        if "format" in schema:
            if {"minLength", "maxLength"} & set(schema):
                raise _refused(where, "a format beside a length")
            if not isinstance(schema["format"], str) or schema["format"] not in _FORMATS:
                raise _refused(where, f"format {schema['format']!r:.40}")
            return self.add(f'"\\"" {_FORMATS[schema["format"]]} "\\""')
        least, most = _bounds(schema, "minLength", "maxLength", where, _MAX_LENGTH)
        if not least and most is None:
            return "string"
        return self.add(f'"\\"" {self._characters(least, most)} "\\""')

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
        if len(kinds) > 1:
            raise _refused(where, "keywords of several types without a type")
        return kinds or [kind for kind in _KEYWORDS if kind != "integer"]
    return _stated_kinds(schema, where)


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


def _in_class(letter: str) -> str:
    return f"\\U{ord(letter):08X}"


def _refused(where: str, what: str) -> UnsupportedError:
    return UnsupportedError(f"the schema cannot be followed: {what} at {where}")
