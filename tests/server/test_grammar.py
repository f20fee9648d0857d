import contextlib
import itertools
import json
import math
import random
import re
import time

import jsonschema
import pytest

from mistral_client.server import grammar, pattern, weights
from mistral_client.server.engine import Sampling, UnsupportedError
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.weights import baby
from tests.conftest import SOAK

WORD = {"type": "string", "minLength": 1, "maxLength": 6}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": WORD,
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1},
            },
            "required": ["name"],
        }
    },
}


def expression(operator):
    """Sums and products of each other."""
    operand = {"$ref": "#/$defs/expression"}
    nodes = [
        {
            "type": "object",
            "properties": {"operator": operator(sign), "left": operand, "right": operand},
            "required": ["operator", "left", "right"],
        }
        for sign in "+*"
    ]
    return {"$ref": "#/$defs/expression", "$defs": {"expression": {"anyOf": [{"type": "boolean"}, *nodes]}}}


def pet(kind, *, required=True, **properties):
    return {
        "type": "object",
        "properties": {"kind": {"const": kind, "type": "string"}, **properties},
        "required": ["kind", *properties] if required else list(properties),
    }


def pets(**schemas):
    """As pydantic writes a union with a discriminator."""
    references = {name: f"#/$defs/{name}" for name in schemas}
    return {
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "kind", "mapping": references},
        "$defs": schemas,
    }


NAMED = {"type": "object", "properties": {"name": WORD}, "required": ["name"]}
EXPRESSION = expression(lambda sign: {"const": sign})
SCHEMAS = {
    "expression": EXPRESSION,
    "word": WORD,
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "enum": {"enum": ["a", 'quoted "b"', "back\\slash", "line\nbreak", "é€😀", 1, 1.5, None, True, {"k": [1, 2]}]},
    "enum of one type": {"type": "string", "enum": ["a", 1, None]},
    "number that is an integer": {"type": "integer", "enum": [1.5, 2]},
    "const": {"const": {"a": [1, {"b": None}]}},
    "integer": {"type": "integer", "minimum": -12, "maximum": 1305},
    "integer, strict": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 2},
    "integer from": {"type": "integer", "minimum": 7},
    "integer to": {"type": "integer", "maximum": -7},
    "optional": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": WORD, "c": {"type": "null"}, "d": {"enum": [1, 2]}},
    },
    "required in the middle": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}, "c": {"type": "null"}, "d": {"enum": [1]}},
        "required": ["b", "d"],
    },
    "closed": {"type": "object", "properties": {}, "additionalProperties": False},
    "map": {"type": "object", "additionalProperties": {"type": "boolean"}},
    "names to be escaped": {
        "type": "object",
        "properties": {'a "b"\\\n': {"type": "null"}, "ü": {"type": "null"}},
        "required": ['a "b"\\\n', "ü"],
    },
    "array": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
    "empty array": {"type": "array", "maxItems": 0},
    "array of up to one": {"type": "array", "items": {"type": "null"}, "maxItems": 1},
    "tuple": {"type": "array", "prefixItems": [{"type": "null"}, WORD], "minItems": 2, "maxItems": 2},
    "anyOf": {"anyOf": [WORD, {"type": "null"}, {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}]},
    "oneOf": {"oneOf": [WORD, {"type": ["null", "boolean"]}]},
    "types": {"type": ["string", "null"], "maxLength": 3},
    "date": {"type": "string", "format": "date"},
    "date-time": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "time"},
    "uuid": {"type": "string", "format": "uuid"},
    "ipv4": {"type": "string", "format": "ipv4"},
    "email": {"type": "string", "format": "email"},
    "long": {
        "type": "object",
        "properties": {"a": {"type": "string", "minLength": 3, "maxLength": 5000}, "b": {"enum": [1]}},
        "required": ["a", "b"],
    },
    "tree": TREE,
    "discriminator": pets(cat=pet("cat", name=WORD), dog=pet("dog", name=WORD)),
    "discriminator with a default": pets(cat=pet("cat", required=False), dog=pet("dog", required=False)),
    "discriminator of several values": {
        "oneOf": [
            {"type": "object", "properties": {"k": {"enum": [1, "a"]}}, "required": ["k"]},
            {"type": "object", "properties": {"k": {"enum": [2, "b"]}}, "required": ["k"]},
            {"type": "null"},
        ]
    },
    "oneOf of constants": {"oneOf": [{"const": "a", "title": "A"}, {"const": "b"}, {"const": 1}]},
    "discriminator that contains itself": {
        **pets(leaf=pet("leaf"), pair=pet("pair", left={"$ref": "#/$defs/pair_or_leaf"})),
        "$defs": {
            "leaf": pet("leaf"),
            "pair": pet("pair", left={"$ref": "#/$defs/pair_or_leaf"}),
            "pair_or_leaf": {"oneOf": [{"$ref": "#/$defs/leaf"}, {"$ref": "#/$defs/pair"}]},
        },
    },
    "allOf": {
        "allOf": [{"$ref": "#/$defs/named"}, {"properties": {"age": {"type": "integer", "minimum": 0, "maximum": 9}}}],
        "required": ["age"],
        "$defs": {"named": NAMED},
    },
    "allOf in oneOf": {
        "oneOf": [{"allOf": [NAMED, pet("cat")]}, {"allOf": [NAMED, pet("dog", required=False)]}],
    },
    "allOf, closed": {"allOf": [{**NAMED, "additionalProperties": False}, {"type": "object", "required": ["name"]}]},
    "allOf with a property of objects twice": {
        "allOf": [
            {"type": "object", "properties": {"a": NAMED}, "required": ["a"]},
            {"type": "object", "properties": {"a": {"type": "object", "required": ["kind"]}}},
        ]
    },
    "annotated reference": {"$ref": "#/$defs/named", "title": "N", "description": "d", "$defs": {"named": NAMED}},
    "not unique": {"type": "array", "items": {"type": "null"}, "maxItems": 3, "uniqueItems": False},
    "not nullable": {"type": "boolean", "nullable": False},
    "pattern": {"type": "string", "pattern": r"^[A-Z]{2,3}-(\d{3}|x+)\.?$", "maxLength": 9},
    "pattern in the middle": {"type": "string", "pattern": "a\\d", "maxLength": 8},
    "pattern to be escaped": {"type": "string", "pattern": '^["\\\\\\n\\x01\\x1f]{3}[^a-z]$'},
    "pattern at one end": {"type": "string", "pattern": "^a|b$", "minLength": 2, "maxLength": 4},
    "pattern of everything": {"type": "string", "pattern": r"^\D\S\W[^\w][^\s].$"},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
    "share, strict": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "number": {"type": "number", "minimum": -2.5, "exclusiveMaximum": 0.125},
    "number from": {"type": "number", "minimum": 12.75},
    "number to": {"type": "number", "exclusiveMaximum": 0},
    "number without a type": {"minimum": 1.5, "maximum": 1.5},
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with LlamaCppEngine(baby.write_gguf(tmp_path_factory.mktemp("baby") / "baby.gguf"), threads=1) as engine:
        yield engine


@pytest.fixture(scope="module")
def mixtral():
    with LlamaCppEngine(weights.default_model(), context_length=1024, slots=1) as engine:
        yield engine


def answers(engine, text, seeds, question="Answer in JSON.", max_tokens=300):
    """The answers within a grammar that came to an end."""
    prompt = engine.tokenize([question])
    for seed in range(seeds):
        pieces = []

        def emit(piece, pieces=pieces):
            pieces.append(piece.text)
            return False

        sampling = Sampling(temperature=1.0, max_tokens=max_tokens, random_seed=seed, grammar=text)
        if engine.generate(prompt, sampling, emit).finish_reason == "stop":
            yield "".join(pieces)


def check(text, schema):
    value = json.loads(text)
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).validate(
        value
    )
    assert "\n" not in text
    text.encode()
    return value


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_answer_is_valid(engine, name):
    schema = SCHEMAS[name]
    found = [check(text, schema) for text in answers(engine, grammar.of_schema(schema), 6)]
    assert found


def test_a_nullable_value_may_be_null(engine):
    schema = {"type": "boolean", "nullable": True}
    found = set(answers(engine, grammar.of_schema(schema), 20))
    assert "null" in found
    assert found <= {"null", "true", "false"}
    assert set(answers(engine, grammar.of_schema({**schema, "enum": [True]}), 3)) == {"true"}


def test_a_discriminator_with_a_default_is_written(engine):
    for text in answers(engine, grammar.of_schema(SCHEMAS["discriminator with a default"]), 4):
        assert json.loads(text)["kind"] in {"cat", "dog"}


@pytest.mark.weights
@pytest.mark.parametrize("name", ["required in the middle", "tuple", "enum", "date-time"])
def test_each_answer_of_a_trained_model_is_valid(mixtral, name):
    schema = SCHEMAS[name]
    found = [check(text, schema) for text in answers(mixtral, grammar.of_schema(schema), 1)]
    assert found


def test_any_object(engine):
    for text in answers(engine, grammar.ANY_OBJECT, 10, max_tokens=800):
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 9), (0, 10), (3, 3), (1, 100), (17, 123), (99, 101), (-5, 5), (-120, -7), (-1, 0), (0, 1009)]
)
def test_integer_bounds_are_exact(low, high):
    body = grammar.of_schema({"type": "integer", "minimum": low, "maximum": high}).split("\n", 1)[0]
    accepts = matcher(body.removeprefix("root ::= "))
    for value in range(low - 1200, high + 1200):
        assert accepts(str(value)) == (low <= value <= high), value
    assert not accepts("-0")
    assert not accepts("00")


def matcher(body):
    """A grammar of literals, classes and counts is nearly a regular expression."""
    expression = re.compile(re.sub(r'"([^"]*)"|\s+', lambda match: re.escape(match[1] or ""), body))
    return lambda text: expression.fullmatch(text) is not None


def test_number_bounds_are_exact():
    draw = random.Random(2)
    for _ in range(400):
        low, high = sorted(round(draw.uniform(-12, 12), draw.randint(0, 3)) for _ in range(2))
        if draw.random() < 0.3:
            high = round(low + draw.choice([0.001, 0.1, 0.01, 1]), 3)
        given = {draw.choice(["minimum", "exclusiveMinimum"]): low, draw.choice(["maximum", "exclusiveMaximum"]): high}
        for left_out in (None, *given) if low < high else given:
            schema = {"type": "number", **{keyword: given[keyword] for keyword in given if keyword != left_out}}
            accepts = matcher(grammar.of_schema(schema).split("\n", 1)[0].removeprefix("root ::= "))
            valid = jsonschema.Draft202012Validator(schema).is_valid
            for _ in range(30):
                near = draw.choice([low, high, draw.uniform(-13, 13)]) + draw.choice([0, 0.001, -0.001, 0.1, -0.1])
                text = f"{near:.5f}".rstrip("0").removesuffix(".")
                if text != "-0":
                    assert accepts(text) == valid(float(text)), (schema, text)


PATTERNS = ["^a+b?$", "a|^b$", "", "^(ab|c){2,3}$", "[^a]c", "^a{0}b$", "(a?){3}b$", "^(a+)+$", "^[a-c-]*$", "."]
PATTERNS += ["^a{2,}c?|b$", "^(?:a|b(c|a))*?c$", r"^\w-[a-c]", r"b\-|-$", "^$", "^(a|)b{1,2}"]


@pytest.mark.parametrize("expression", PATTERNS)
def test_patterns_are_exact(expression):
    allowed = pattern.automaton(expression)
    for letters in itertools.chain(*(itertools.product("abc-", repeat=length) for length in range(6))):
        state = 0
        for letter in letters:
            ways = [to for ranges, to in allowed.moves[state] if any(a <= ord(letter) <= b for a, b in ranges)]
            state = ways[0] if ways else None
            if state is None:
                break
        found = state is not None and allowed.ends[state]
        assert found == bool(re.search(expression, "".join(letters))), letters


REFUSED_PATTERNS = [
    "(a",
    "a)",
    "[a",
    "a{2",
    "a{3,2}",
    "a**",
    "*",
    "(?=a)",
    "(?i)a",
    r"\1",
    r"\b",
    r"\p{L}",
    "(^a|b$)",
    "a$b",
]
REFUSED_PATTERNS += [
    "[]a]",
    "[[:alpha:]]",
    "[b-a]",
    r"[\d-a]",
    r"\x1",
    "a\\",
    "a{99999}",
    "(a{1000}){1000}",
    "[^\\s\\S]",
]
REFUSED_PATTERNS += [".*a.{20}", "(" * 60 + ")" * 60, "((a?){0,99}){0,99}", "(a{0,999}b{0,999}){9}", "^\\ud800$"]


@pytest.mark.parametrize("expression", REFUSED_PATTERNS)
def test_a_pattern_that_cannot_be_followed_is_refused(expression):
    with pytest.raises(UnsupportedError, match="pattern"):
        grammar.of_schema({"type": "string", "pattern": expression})


def test_many_large_patterns_are_refused():
    patterns = [{"type": "string", "pattern": f"^[^a{n}]{{0,500}}$"} for n in range(500)]
    with pytest.raises(UnsupportedError, match="large"):
        grammar.of_schema({"anyOf": patterns})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "(a+)+$", "format": "date"},
        {"type": "string", "pattern": 1},
        {"type": "string", "pattern": "^aaa$", "maxLength": 2},
        {"type": "number", "minimum": 1, "exclusiveMaximum": 1},
        {"type": "number", "minimum": 2, "maximum": 1},
        {"type": "number", "minimum": 1e300},
        {"type": "number", "minimum": 1e-20},
        {"type": "number", "minimum": math.nan},
        {"type": "number", "minimum": "1"},
        {"type": "boolean", "nullable": 1},
        {"$ref": "#/$defs/a", "nullable": True, "$defs": {"a": {"type": "null"}}},
        {"$ref": "#/$defs/a", "maxLength": 1, "$defs": {"a": {"type": "string"}}},
        {"type": "object", "properties": {}, "required": ["a"], "additionalProperties": False},
        {"oneOf": [pet("cat"), pet("cat")]},
        {"oneOf": [pet("cat"), NAMED]},
        {"oneOf": [{"const": n} for n in range(600)]},
        {"allOf": [{"properties": {"a": {"const": 1}}}, {"type": "object", "properties": {"a": {"const": True}}}]},
        {"oneOf": [{"const": 1}, {"const": 1.0}]},
        {"oneOf": [{"const": "a"}, {"type": "string"}]},
        {"oneOf": [{"const": [1]}, {"const": [1.0]}]},
        {"allOf": []},
        {"allOf": [NAMED, {"type": "string"}]},
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
        {"allOf": [{**NAMED, "additionalProperties": False}, pet("cat")]},
        {"allOf": [{**NAMED, "additionalProperties": {"type": "null"}}, pet("cat")]},
        {"allOf": [pet("cat"), pet("dog")]},
        {"allOf": [NAMED, {"anyOf": [NAMED]}]},
        {"allOf": [NAMED, {"$ref": "#"}]},
        {"allOf": [NAMED, {"$ref": "#/nowhere"}]},
        {"type": ["string", "null"], "nonsense": 1},
        {"type": "number", "multipleOf": 0.1},
        {"type": "array", "uniqueItems": True},
        {"type": "array", "uniqueItems": 0},
        {"type": "object", "patternProperties": {"a": {}}},
        {"not": {}},
        {"if": {}, "then": {}},
        {"type": "text"},
        {"type": ["string", []]},
        {"type": []},
        {"type": {}},
        {"anyOf": []},
        {"anyOf": 1},
        {"anyOf": [{"type": "null"}], "type": "string"},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"oneOf": [{"type": ["string"]}, {"type": "string"}]},
        {"oneOf": [{}, {"type": "string"}]},
        {"enum": []},
        {"enum": "a"},
        {"type": "string", "enum": [1]},
        {"enum": ["a", "b"], "maxLength": 1},
        {"const": math.nan},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
        {"type": "integer", "minimum": "1"},
        {"type": "integer", "minimum": 0.5},
        {"type": "string", "minLength": -1},
        {"type": "string", "minLength": 2, "maxLength": 1},
        {"type": "string", "format": "nonsense"},
        {"type": "object", "required": [[]]},
        {"type": "object", "properties": []},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.com/schema"},
        {"enum": ["x" * 1_100_000]},
        {"type": "object", "properties": {f"p{n}": {"type": "string", "maxLength": n} for n in range(800)}},
        {"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(10_100)}},
        {"properties": {"a": 1}},
        expression(lambda sign: {"type": "string"}),
        {"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(600)}},
    ],
    ids=lambda schema: json.dumps(schema)[:60],
)
def test_what_cannot_be_followed_is_refused(schema):
    with pytest.raises(UnsupportedError, match="the schema"):
        grammar.of_schema(schema)


def test_a_schema_nested_too_deep_is_refused():
    schema = {"type": "null"}
    for _ in range(70):
        schema = {"type": "array", "items": schema}
    with pytest.raises(UnsupportedError, match="deep"):
        grammar.of_schema(schema)


def test_a_random_word_in_the_place_of_a_keyword_never_breaks_it():
    words = ["type", "enum", "const", "properties", "required", "items", "anyOf", "oneOf", "allOf", "$ref", "minimum"]
    words += [
        "pattern",
        "nullable",
        "uniqueItems",
        "maximum",
        "maxLength",
        "minItems",
        "format",
        "prefixItems",
        "additionalProperties",
        "exclusiveMaximum",
    ]
    things = [
        None,
        True,
        1,
        -1,
        0.5,
        "string",
        "object",
        "#",
        [],
        {},
        ["a"],
        [{}],
        {"a": {}},
        [["x"]],
        "integer",
        "array",
    ]
    draw = random.Random(1)
    followed = 0
    for _ in range(5_000):
        schema = {draw.choice(words): draw.choice(things) for _ in range(draw.randint(1, 3))}
        with contextlib.suppress(UnsupportedError):
            followed += grammar.of_schema(schema).startswith("root ::= ")
    assert followed > 100


# Calls

CALLS = [
    ("turn", {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}),
    (
        "set",
        {"type": "object", "properties": {"to": {"type": "integer", "minimum": 1, "maximum": 5}}, "required": ["to"]},
    ),
]


@pytest.mark.parametrize("parallel", [True, False])
def test_calls_that_are_required(engine, parallel):
    text = grammar.of_calls(CALLS, mark="CALL^]:", required=True, parallel=parallel)
    found = list(answers(engine, text, 8))
    assert found
    for answer in found:
        calls = json.loads(answer.removeprefix("CALL^]:"))
        assert 1 <= len(calls) <= (8 if parallel else 1)
        for call in calls:
            assert set(call) == {"name", "arguments"}
            jsonschema.validate(call["arguments"], dict(CALLS)[call["name"]])


def test_calls_that_are_not_required(engine):
    text = grammar.of_calls(CALLS, mark="CALL", required=False, parallel=True)
    for answer in answers(engine, text, 8, max_tokens=40):
        assert not answer.startswith("CALL") or json.loads(answer.removeprefix("CALL"))


def test_arguments_that_cannot_be_followed_are_refused():
    with pytest.raises(UnsupportedError, match="f"):
        grammar.of_calls([("f", {"not": {}})], mark="CALL", required=True, parallel=True)


# Schemas that are small to read and large to follow


def shaped(**properties):
    return {"type": "object", "properties": properties, "required": [*properties]}


def levels(depth, alternatives):
    """Alternatives on each level, of which each goes on in the next: together their product."""
    following = [{"$ref": f"#/$defs/{level + 1}"} for level in range(depth - 1)]
    unions = [{"anyOf": alternatives(next_)} for next_ in [*following, {"type": "string"}]]
    return {"$ref": "#/$defs/0", "$defs": {str(level): union for level, union in enumerate(unions)}}


BOMBS = {
    "objects told apart at their end": levels(5, lambda next_: [shaped(a=next_, b={"const": n}) for n in range(10)]),
    "two objects on sixteen levels": levels(16, lambda next_: [shaped(a=next_, b={"const": n}) for n in range(2)]),
    "arrays": levels(20, lambda next_: [{"type": "array", "items": next_, "minItems": n} for n in (1, 2)]),
    "maps": levels(20, lambda next_: [{"type": "object", "additionalProperties": next_}] * 2),
    "constants one by one": {"anyOf": [{"const": f"{n:05}"} for n in range(5_000)]},
    "numbers": {"anyOf": [{"type": "integer", "minimum": n, "maximum": 123_456_789} for n in range(300)]},
}

HARD = {
    "10,000 alternatives": {"enum": [f"{n:05}" for n in range(10_000)]},
    "alternatives of letters": {
        "enum": ["".join(letters) for letters in itertools.islice(itertools.product("ab", repeat=13), 8_000)]
    },
    "500 optional properties": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(500)}},
    "optional in optional": {
        "type": "object",
        "properties": {
            f"p{n}": {"type": "object", "properties": {f"q{m}": {"type": "null"} for m in range(15)}}
            for n in range(400)
        },
    },
    "large counts": {"type": "array", "minItems": 900, "maxItems": 900, "items": {"type": "string", "minLength": 200}},
    "arrays of arrays": {
        "type": "array",
        "maxItems": 1000,
        "items": {"type": "array", "maxItems": 900, "items": {"type": "array", "maxItems": 900}},
    },
    "strings of many lengths": {"anyOf": [{"type": "string", "maxLength": n + 1} for n in range(400)]},
    "long string": {"type": "string", "minLength": 1000, "maxLength": 100_000},
    "nested quantifiers": {"type": "string", "pattern": "^((a+)+)+$"},
    "patterns": {"anyOf": [{"type": "string", "pattern": f"^[a-z]{{1,{n + 1}}}x$"} for n in range(30)]},
    "one after another": {
        "type": "object",
        "properties": {f"p{n}": {"anyOf": [shaped(a={}, b={"const": m}) for m in range(20)]} for n in range(50)},
    },
}


@pytest.mark.parametrize("name", BOMBS)
def test_row37_what_multiplies_is_refused(name):
    with pytest.raises(UnsupportedError, match="more than 500 ways to go on at the same time at #/"):
        grammar.of_schema(BOMBS[name])


def test_row37_what_is_told_apart_at_its_beginning_does_not_multiply():
    discriminated = levels(9, lambda next_: [shaped(kind={"const": n}, a=next_) for n in range(20)])
    nullable = levels(15, lambda next_: [shaped(a=next_), {"type": "null"}])
    kinds = levels(15, lambda next_: [{"type": "array", "items": next_}, {"type": "number"}, {"type": "string"}])
    for schema in (discriminated, nullable, kinds):
        assert grammar.of_schema(schema)


@pytest.mark.weights
@pytest.mark.parametrize("name", HARD)
def test_row37_what_is_followed_costs_each_token_little(mixtral, name):
    """In the model's own vocabulary of 49,152 tokens: neither a second for a token, nor much memory."""
    text = grammar.of_schema(HARD[name])
    prompt = mixtral.tokenize(["As JSON: "])
    times, pieces = [time.monotonic()], []

    def emit(piece):
        times.append(time.monotonic())
        pieces.append(piece.text)
        return False

    mixtral.generate(prompt, Sampling(max_tokens=30, grammar=text, temperature=0), emit)
    assert "".join(pieces)
    slowest = max(after - before for before, after in itertools.pairwise(times))
    assert slowest < (1 if SOAK else 10)
