"""Markdown as it streams, as the cells of a terminal: each character with its looks."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mistral_client.cli.markdown import Markdown

BOLD, FAINT, ITALIC, UNDERLINED, CODE = "1", "2", "3", "4", "36"


def cells(shown: str) -> list[tuple[str, frozenset[str]]]:
    """What a terminal makes of it."""
    looks: frozenset[str] = frozenset()
    made = []
    for escape, character in re.findall(r"\x1b\[([\d;]+)m|(.)", shown, re.DOTALL):
        if escape:
            looks = frozenset(escape.split(";")) - {"0"}
        else:
            made.append((character, looks))
    assert not looks, "the terminal is left in them"
    return made


def rendered(*pieces: str) -> str:
    """The text, with looks written as {1;3:text}."""
    markdown = Markdown()
    shown = "".join([*map(markdown.feed, pieces), markdown.end()])
    cells(shown)
    return re.sub(r"\x1b\[([\d;]+)m(.*?)\x1b\[0m", r"{\1:\2}", shown, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a **b c** d", "a {1:b c} d"),
        ("an *i* and _j_.", "an {3:i} and {3:j}."),
        ("***both***", "{1;3:both}"),
        ("**b *i* b**", "{1:b }{1;3:i}{1: b}"),
        ("**b *i***", "{1:b }{1;3:i}"),
        ("*i **b***", "{3:i }{3;1:b}"),
        ("*a **b** c*", "{3:a }{3;1:b}{3: c}"),
        ("**see `x*y`**", "{1:see }{1;36:x*y}"),
        ("`a*b*` and `` ` ``", "{36:a*b*} and {36: ` }"),
        (r"`\` is a `backslash`", r"{36:\} is a {36:backslash}"),
        (r"\*not\* \q", r"*not* \q"),
        ("这是**重点**内容", "这是{1:重点}内容"),
        # What is no mark stays.
        ("2**3 and 4**5", "2**3 and 4**5"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("3*4*5", "3*4*5"),
        ("snake_case_name, __init__, self._x + self._y", "snake_case_name, __init__, self._x + self._y"),
        ("**open", "**open"),
        ("a `b", "a `b"),
        ("**a\nb**", "**a\nb**"),
        ("*****\n---", "*****\n---"),
        ("**" + "x" * 300 + "**", "**" + "x" * 300 + "**"),
        # Headings
        ("# One\ntwo", "{1;4:One}\ntwo"),
        ("### Three `c`", "{1:Three }{1;36:c}"),
        ("#hash\n####### seven", "#hash\n####### seven"),
        # Lists
        ("- a\n  * b **c**\n+ d", "• a\n  • b {1:c}\n• d"),
        ("-5\n*i*", "-5\n{3:i}"),
        ("1. a\n2. *b*", "1. a\n2. {3:b}"),
        # Blocks of code
        ("```py\nx = '**y**'\n# z\n\n```\n**b**", "{2:```py}\n{36:x = '**y**'}\n{36:# z}\n\n{2:```}\n{1:b}"),
        ("````\n```\n````\nx", "{2:````}\n{36:```}\n{2:````}\nx"),
        ("~~~\n```\n~~~", "{2:~~~}\n{36:```}\n{2:~~~}"),
        ("1. a\n   ```\n   x\n   ```\n", "1. a\n{2:   ```}\n{36:   x}\n{2:   ```}\n"),
        ("```\nnever closed", "{2:```}\n{36:never closed}"),
        ("```inline``` code", "{36:inline} code"),
        # Others
        ("| a | b |\n> q\n[t](http://x/_y_)", "| a | b |\n> q\n[t](http://x/{3:y})"),
        ("", ""),
        ("\n\n", "\n\n"),
    ],
)
def test_looks(text, shown):
    assert rendered(text) == shown
    assert cells_of(list(text)) == cells_of([text])


def cells_of(pieces: list[str]) -> list[tuple[str, frozenset[str]]]:
    markdown = Markdown()
    return cells("".join([*map(markdown.feed, pieces), markdown.end()]))


MARKDOWN = st.lists(
    st.sampled_from(
        [
            "*",
            "**",
            "_",
            "`",
            "```",
            "\n",
            "\n\n",
            " ",
            "a",
            "b c",
            "x1",
            "\\",
            "# ",
            "- ",
            "  ",
            "~",
            "1. ",
            "é",
            ".",
            "#",
        ]
    ),
    max_size=40,
).map("".join)


@given(MARKDOWN, st.data())
@example("**" + "a" * 197 + "* **" + "`" * 5 + "*" * 9, None)
def test_the_pieces_do_not_matter(text, data):
    cuts = range(len(text)) if data is None else sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert cells_of(pieces) == cells_of([text])


@given(st.integers(180, 210), st.sampled_from(["*", "**", "`", "***"]), MARKDOWN)
def test_the_pieces_do_not_matter_to_long_spans(length, mark, rest):
    text = mark + "a" * length + rest
    assert cells_of(list(text)) == cells_of([text])


@given(MARKDOWN)
def test_nothing_is_lost_but_marks(text):
    shown = "".join(character for character, _ in cells_of([text]))
    marks = str.maketrans("", "", "*_`#\\•- \t")
    assert shown.translate(marks) == text.translate(marks)


def test_text_is_shown_as_soon_as_its_looks_are_certain():
    markdown = Markdown()
    assert markdown.feed("Once upon") == "Once upon"
    assert markdown.feed(" a *ti") == " a "
    assert markdown.feed("me* there") == "\x1b[3mtime\x1b[0m there"
    assert markdown.feed("\n") == "\n"
    assert markdown.feed("```\nco") == "\x1b[2m```\x1b[0m\n\x1b[36mco\x1b[0m"
    assert markdown.feed("de") == "\x1b[36mde\x1b[0m"
    assert markdown.feed("\n``") == "\n"
    assert markdown.feed("`") == ""
    assert markdown.end() == "\x1b[2m```\x1b[0m"


def test_a_mark_that_never_closes_holds_little_back():
    markdown = Markdown()
    shown = "".join(markdown.feed("**" if n == 0 else "word ") for n in range(100))
    assert len(shown) > 250
