"""What a docstring says of a function and of its parameters. Performs no I/O.

Four styles are read: lines `name: meaning` in the text, and the sections and fields of Google, NumPy and Sphinx.
"""

from __future__ import annotations

import re
from itertools import zip_longest

_RULE = re.compile(r"-{3,}")
_PARAMETERS = {"args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "other parameters"}
_OTHERS = {
    *("attributes", "example", "examples", "note", "notes", "raises", "references", "return", "returns", "see also"),
    *("todo", "warning", "warnings", "warns", "yield", "yields"),
}
_FIELD = re.compile(r":(?:(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+)|\w+[^:]*):\s*(.*)")
_ENTRY = re.compile(r"(\w+(?:, \w+)*)(?: \(.*?\))?: (.*)")
_NUMPY_ENTRY = re.compile(r"(\w+(?:, \w+)*)(?:\s*:.*)?()")


def described(doc: str, names: set[str]) -> tuple[str, dict[str, str]]:
    """The description of a function, and the meanings of these parameters, out of its docstring."""
    text: list[str] = []
    meanings: dict[str, list[str]] = {}
    current: list[str] = []
    section = ""
    lines = doc.splitlines()
    for line, below in zip_longest(lines, lines[1:], fillvalue=""):
        words, indented = line.strip(), line[:1].isspace()
        if _RULE.fullmatch(words):
            continue
        header = words.removesuffix(":").lower()
        if header in _PARAMETERS | _OTHERS and (words.endswith(":") or _RULE.fullmatch(below.strip())):
            style = "google" if words.endswith(":") else "numpy"
            section, current = (style if header in _PARAMETERS else "other"), []
            continue
        field = _FIELD.match(words)
        if field:
            section, current = "sphinx", [field[1]] if field[1] in names else []
            meanings |= {name: [field[2]] for name in current}
            continue
        entry = (_NUMPY_ENTRY if section == "numpy" else _ENTRY).fullmatch(words)
        named = re.findall(r"\w+", entry[1]) if entry else []
        if entry and set(named) <= names and indented == (section == "google") and section in {"", "google", "numpy"}:
            current = named
            meanings |= {name: [entry[2]] if section != "numpy" else [] for name in named}
        elif current and words and (indented or section == "google"):
            for name in current:
                meanings[name].append(words)
        elif section == "" or (section == "google" and words and not indented):
            section, current = "", []
            text.append(line)
    description = re.sub(r"\n{3,}", "\n\n", "\n".join(text)).strip()
    return description, {name: " ".join(filter(None, parts)) for name, parts in meanings.items() if parts}
