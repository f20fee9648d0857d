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
        (b"import mistralai\n\xe9 = 1\n", None, "its encoding is not what it says"),
        (b"# coding: nonsense\nimport mistralai\n", None, "its encoding is not what it says"),
        (b"import mistralai\nx = 1\0\n", None, "source code string cannot contain null bytes"),
    ],
)
def test_what_does_not_parse(source, line, message):
    with pytest.raises(CannotRead) as caught:
        examine(source)
    assert caught.value.line == line
    assert caught.value.message.startswith(message)


def test_deep_nesting_is_an_error_and_no_crash():
    with pytest.raises(CannotRead):
        examine(b"import mistralai\n" + b"(" * 5000 + b")" * 5000)


def test_what_has_nothing_to_do_with_it_is_not_read():
    source = b"x = = 1"
    examined = examine(source)
    assert (examined.generations, examined.findings, examined.rewritten) == ((), (), source)
