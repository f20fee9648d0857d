"""Imports become those of this package; everything else stays as it is, to the byte."""

from __future__ import annotations

import ast
import keyword

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_client._install import homes, names_of
from mistral_client.migrate.examining import examine
from mistral_client.migrate.finding import Generation, Kind


def rewritten(source: str) -> str:
    examined = examine(source.encode())
    assert not examined.in_the_way, examined.findings
    return examined.rewritten.decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from mistralai.client import MistralClient", "from mistral_client import MistralClient"),
        ("from mistralai.client import MistralClient as MC", "from mistral_client import MistralClient as MC"),
        ("from mistralai.models.chat_completion import ChatMessage", "from mistral_client import ChatMessage"),
        ("from mistralai import Mistral", "from mistral_client import Mistral"),
        ("from mistralai.client.sdk import Mistral", "from mistral_client import Mistral"),
        ("from mistralai.models.sdkerror import SDKError", "from mistral_client import SDKError"),
        ("from mistralai.constants import ENDPOINT", "from mistral_client.constants import ENDPOINT"),
        # A name that means two things, by the module that it comes from.
        ("from mistralai.models.chat_completion import ToolChoice", "from mistral_client import ToolChoice"),
        ("from mistralai.models import ToolChoice", "from mistral_client.models.modern import ToolChoice"),
        (
            "from mistralai.models import (\n    UserMessage,  # asks\n    SystemMessage as System,\n)  # end\n",
            "from mistral_client import (\n    UserMessage,  # asks\n    SystemMessage as System,\n)  # end\n",
        ),
        # One statement becomes two: on lines of their own, or where it stands.
        (
            "if 1:\n    # why\n    from mistralai import Mistral, ToolChoice  # what\n    x = 1\n",
            "if 1:\n    # why\n    from mistral_client import Mistral\n    from mistral_client.models.modern import ToolChoice  # what\n    x = 1\n",
        ),
        (
            "from mistralai import Mistral, ToolChoice; x = 1",
            "from mistral_client import Mistral; from mistral_client.models.modern import ToolChoice; x = 1",
        ),
        (
            "from mistralai.models import (\n    UserMessage,\n    ToolChoice,\n)\n",
            "from mistral_client import (\n    UserMessage,\n)\nfrom mistral_client.models.modern import (\n    ToolChoice,\n)\n",
        ),
        # Modules
        (
            "import mistralai\nc = mistralai.Mistral()\nd = mistralai.client.MistralClient()",
            "import mistral_client\nc = mistral_client.Mistral()\nd = mistral_client.MistralClient()",
        ),
        (
            "import os, mistralai.client, mistralai.constants, sys\nmistralai.constants.ENDPOINT.x",
            "import os, mistral_client, mistral_client.constants, sys\nmistral_client.constants.ENDPOINT.x",
        ),
        (
            "import mistralai.models.chat_completion as cc\ndef f(m: cc.ChatMessage): ...",
            "import mistral_client.models.chat_completion as cc\ndef f(m: cc.ChatMessage): ...",
        ),
        (
            "from mistralai.models import chat_completion\nchat_completion . ChatMessage",
            "from mistral_client.models import chat_completion\nchat_completion . ChatMessage",
        ),
        (
            "from mistralai import exceptions as e\ntry: pass\nexcept e.MistralException: pass",
            "from mistral_client import exceptions as e\ntry: pass\nexcept e.MistralException: pass",
        ),
        ("from mistralai import Mistral, models as m", "from mistral_client import Mistral, models as m"),
        (
            "from mistralai.client import models, errors\nmodels.UserMessage, errors.SDKError",
            "from mistral_client import models\nimport mistral_client.exceptions as errors\nmodels.UserMessage, errors.SDKError",
        ),
        (
            "import mistralai as m\nm.models.UserMessage, m.client.MistralClient, m.Mistral",
            "import mistral_client as m\nm.UserMessage, m.MistralClient, m.Mistral",
        ),
        # Not theirs
        ("from .mistralai import x\nimport mistral_common", "from .mistralai import x\nimport mistral_common"),
        ("x.mistralai = 1  # import mistralai", "x.mistralai = 1  # import mistralai"),
        (
            "def f(mistralai): return mistralai.client.MistralClient",
            "def f(mistralai): return mistralai.client.MistralClient",
        ),
    ],
)
def test_an_import(before, after):
    assert rewritten(before) == after
    assert rewritten(after) == after
    compile(after, "after", "exec")


@pytest.mark.parametrize(
    ("source", "line", "kind", "message"),
    [
        (
            "\nfrom mistralai import OCRRequest",
            2,
            Kind.outside,
            "mistralai.OCRRequest is not here; it needs the official",
        ),
        ("import mistralai.extra.run", 1, Kind.outside, "mistralai.extra.run is not here"),
        ("from mistralai_azure import MistralAzure", 1, Kind.outside, "mistralai_azure.MistralAzure is not here"),
        ("from mistralai.models import jobs", 1, Kind.outside, "pip install 'mistralai<1'"),
        ("from mistralai.client.models import OCRRequest", 1, Kind.outside, "pip install mistralai"),
        ("import mistralai\nmistralai.client.Agents", 2, Kind.outside, "mistralai.client.Agents"),
        ("from mistralai.models import *", 1, Kind.by_hand, "import the names themselves"),
        ("import mistralai\nprint(mistralai)", 2, Kind.by_hand, "the module mistralai is used as a value"),
        ("from mistralai import models\nf(models)", 2, Kind.by_hand, "the module mistralai.models is used as a value"),
        (
            "from . import mistral_client\nimport mistralai\nmistralai.Mistral()",
            2,
            Kind.by_hand,
            "mistral_client is a variable of the program (line 1): give it another name",
        ),
        (
            "import mistralai\nmistral_client = mistralai.Mistral()",
            1,
            Kind.by_hand,
            "mistral_client is a variable of the program (line 2): give it another name",
        ),
        (
            "import mistralai as m\nm.constants.ENDPOINT, m.models.ToolChoice",
            2,
            Kind.by_hand,
            "what is taken from m is in several modules here: import the names themselves",
        ),
        (
            "f('mistralai.client.MistralClient.chat')",
            1,
            Kind.by_hand,
            "mistralai.client.MistralClient.chat is named in",
        ),
        ("importlib.import_module('mistralai')", 1, Kind.by_hand, "mistralai is named in a string"),
    ],
)
def test_what_is_in_the_way(source, line, kind, message):
    examined = examine(source.encode())
    assert [(each.line, each.kind) for each in examined.findings] == [(line, kind)]
    assert message in examined.findings[0].message
    assert examined.in_the_way
    assert examined.rewritten == source.encode()


def test_a_namesake_is_in_the_way():
    examined = examine(b"from mistralai import Mistral", "app/mistral_client.py")
    assert examined.in_the_way
    assert "app/mistral_client.py would be imported in place of mistral_client" in examined.findings[0].message
    assert not examine(b"import os  # mistralai", "mistral_client.py").in_the_way


@pytest.mark.parametrize(
    "text",
    [
        "mistralai",
        "mistralai/Mixtral-8x7B",
        "see mistralai.client",
        "mistralai-azure",
        "mistralai.mistral-7b-v0.2",
        "mistralai.",
    ],
)
def test_other_strings_are_left_alone(text):
    assert examine(f"x = {text!r}".encode()).findings == ()
    assert examine(b"log = logging.getLogger('mistralai.client')").findings == ()


@pytest.mark.parametrize(
    ("source", "generations"),
    [
        ("from mistralai.client import MistralClient", ["early"]),
        ("from mistralai.models import chat_completion", ["early"]),
        ("import mistralai.client\nmistralai.client.MistralClient", ["early"]),
        ("from mistralai import Mistral", ["first"]),
        ("import mistralai\nmistralai.models.UserMessage", ["first"]),
        ("from mistralai.client import Mistral", ["later"]),
        ("from mistralai import client\nclient.errors.SDKError", ["later"]),
        (
            "from mistralai.client import MistralClient\nfrom mistralai import Mistral\nimport openai",
            ["early", "first", "openai"],
        ),
        ("from openai import OpenAI", ["openai"]),
        ("from mistral_client import Mistral  # was mistralai", []),
    ],
)
def test_generations(source, generations):
    examined = examine(source.encode())
    assert examined.generations == tuple(Generation[name] for name in generations)
    if "openai" in generations:
        assert examined.findings[0].kind is Kind.hint
        assert not examined.in_the_way


NAMES = [
    (module, name)
    for module in sorted(homes())
    for name in sorted(names_of(module))
    if f"{module}.{name}" not in homes() and name.isidentifier() and not keyword.iskeyword(name)
]
LAYOUTS = [
    "from {module} import {name}\nvalue = {name}",
    "from {module} import {name} as other\nvalue = other",
    "from {module} import (\n    {name},  # a comment\n)\n\n\nvalue = {name}",
    "def f():\n\tfrom {module} import {name}\n\treturn {name}\nvalue = f()",
    "import {module}\nvalue = {module}.{name}",
    "import {module}\nold = 'é', {module}.{name}; value = {module}.{name}  # é",
    "from {module} \\\n    import {name}; value = {name}",
    "import {module} as other\nvalue = (other\n    .{name})",
    "import os, {module} as other ; value = other.{name}",
    "try:\n    from {module} import {name} as value\nexcept ImportError:\n    value = None",
]


@settings(deadline=None)
@given(
    named=st.sampled_from(NAMES),
    layout=st.sampled_from(LAYOUTS),
    before=st.sampled_from(["", "# -*- coding: latin-1 -*-\n# é\n", '"""é\n"""\n', "x = 'mistralai'\n\n", "\n\f\n"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    end=st.sampled_from(["", "\n", "\n# end", "\n\n\t\n"]),
    bom=st.booleans(),
)
def test_any_name_in_any_layout(named, layout, before, newline, end, bom):
    """It means the same object, is found again in nothing, and not a byte of the rest has changed."""
    module, name = named
    text = (before + layout.format(module=module, name=name) + end).replace("\n", newline)
    encoding = "latin-1" if "latin-1" in before else "utf-8-sig" if bom else "utf-8"
    source = text.encode(encoding)
    examined = examine(source)
    assert not examined.in_the_way, examined.findings
    again = examine(examined.rewritten)
    assert (again.generations, again.findings, again.rewritten) == ((), (), examined.rewritten)

    lines, new = source.split(b"\n"), examined.rewritten.split(b"\n")
    assert len(lines) == len(new)
    for old_line, new_line in zip(lines, new, strict=True):
        theirs = any(word in old_line for word in (b"import", b"value", b"mistralai", b"." + name.encode()))
        assert old_line == new_line or (theirs and old_line.endswith(b"\r") == new_line.endswith(b"\r"))

    namespace: dict[str, object] = {}
    exec(compile(examined.rewritten, "rewritten", "exec"), namespace)
    assert namespace["value"] is names_of(module)[name]


@settings(deadline=None)
@given(st.lists(st.sampled_from(NAMES), min_size=2, max_size=5, unique_by=lambda named: named[1]), st.booleans())
def test_names_of_one_statement_are_all_there(named, parenthesised):
    module = named[0][0]
    names = [name for of, name in named if name in names_of(module) and f"{module}.{name}" not in homes()]
    text = ", ".join(names)
    source = f"from {module} import {f'({text},)' if parenthesised else text}"
    examined = examine(source.encode())
    namespace: dict[str, object] = {}
    exec(compile(examined.rewritten, "rewritten", "exec"), namespace)
    for name in names:
        assert namespace[name] is names_of(module)[name]


def test_nothing_of_a_program_is_run():
    source = b"from mistralai.client import MistralClient\nraise SystemExit\n"
    assert ast.parse(examine(source).rewritten)
