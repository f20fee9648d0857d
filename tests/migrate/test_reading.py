"""Programs that cannot be read are told with the reason and the line."""

from __future__ import annotations

import pytest

from mistral_client.migrate.examining import examine
from mistral_client.migrate.reading import CannotRead


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        (b"import mistralai\nx = = 1\n", 2, "invalid syntax"),
        (b"import mistralai\nprint 'hello'\n", 2, "Missing parentheses in call to 'print'. Did you mean print(...)?"),
        (b"import mistralai\n  x = 1\n", 2, "unexpected indent"),
        (b"import mistralai\n\xe9 = 1\n", 2, "(unicode error) 'utf-8' codec can't decode byte 0xe9"),
        (b"# coding: nonsense\nimport mistralai\n", None, "unknown encoding: nonsense"),
        (b"import mistralai\nx = 1\0\n", None, "source code string cannot contain null bytes"),
    ],
)
def test_what_does_not_parse(source, line, message):
    with pytest.raises(CannotRead) as caught:
        examine(source)
    assert caught.value.line == line
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    "nested", ["(" * 5000 + ")" * 5000, "+".join("a" * 5000), "a" + ".b" * 5000, "not " * 500 + "a"]
)
def test_deep_nesting_is_an_error_and_no_crash(nested):
    with pytest.raises(CannotRead, match=r"nested"):
        examine(b"import mistralai\n" + nested.encode())


def test_nesting_as_people_write_it():
    many = "if a: pass\n" + "elif a: pass\n" * 120 + "+".join("a" * 120)
    assert examine(b"from mistralai import Mistral\n" + many.encode()).rewritten


def test_what_has_nothing_to_do_with_it_is_not_read():
    source = b"x = = 1"
    examined = examine(source)
    assert (examined.generations, examined.findings, examined.rewritten) == ((), (), source)
