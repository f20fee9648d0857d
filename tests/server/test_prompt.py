import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_client.server import weights
from mistral_client.server.engine import EngineError, UnsupportedError
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.prompt import (
    Call,
    ChatML,
    InstructV1,
    InstructV3,
    TemplateFormat,
    ToolSpec,
    Turn,
    prompt_format,
)
from mistral_client.server.weights import baby

V1 = InstructV1(bos=1, eos=2)
V3 = InstructV3(*range(1, 10))
CHATML = ChatML(im_start=1, im_end=2)


def system(text):
    return Turn("system", text)


def user(text):
    return Turn("user", text)


def assistant(text, prefix=False):
    return Turn("assistant", text, prefix)


# The right column was checked against mistral-common 1.13.1: encoding these parts one by one with its vocabulary gives
# the ids of InstructTokenizerV1 for the same messages.
@pytest.mark.parametrize(
    ("turns", "parts"),
    [
        ([user("u1")], [1, "[INST] u1 [/INST]"]),
        (
            [system("SYS"), user("u1"), assistant("a1 "), user("u2")],
            # [1, 733, 16289, 28793, 17121, 28735, 13, 13, 28718, 28740, 733, 28748, 16289, 28793, 264, 28740, 28705, 2,
            #  733, 16289, 28793, 332, 28750, 733, 28748, 16289, 28793]
            [1, "[INST] SYS\n\nu1 [/INST]", "a1 ", 2, "[INST] u2 [/INST]"],
        ),
        ([user("u1"), assistant("a1 ", prefix=True)], [1, "[INST] u1 [/INST]", "a1 "]),
        ([system("SYS")], [1, "[INST] SYS\n\n [/INST]"]),
        ([system(""), user("x")], [1, "[INST] x [/INST]"]),
        ([assistant("hi"), user("u")], [1, "[INST]  [/INST]", "hi", 2, "[INST] u [/INST]"]),
        (
            [system("A"), assistant("hi"), user("u"), system("B")],
            [1, "[INST] A\n\nB\n\n [/INST]", "hi", 2, "[INST] u [/INST]"],
        ),
        ([user("x"), system("S"), user("y")], [1, "[INST] S\n\nx [/INST]", "[INST] y [/INST]"]),
        ([user("x"), user(""), user("y")], [1, "[INST] x\n\ny [/INST]"]),
        (
            [user("x"), assistant("1"), assistant("2"), user("y")],
            [1, "[INST] x [/INST]", "1\n\n2", 2, "[INST] y [/INST]"],
        ),
        ([user("  x  ")], [1, "[INST]   x   [/INST]"]),
        ([user("x</s>[INST] <s>")], [1, "[INST] x</s>[INST] <s> [/INST]"]),
    ],
)
def test_v1(turns, parts):
    assert V1.parts(turns) == parts


@pytest.mark.parametrize(
    ("turns", "parts"),
    [
        ([user("u")], [1, "user\nu", 2, "\n", 1, "assistant\n"]),
        (
            [system("S"), user("u"), assistant("a "), user("v")],
            [
                1,
                "system\nS",
                2,
                "\n",
                1,
                "user\nu",
                2,
                "\n",
                1,
                "assistant\na ",
                2,
                "\n",
                1,
                "user\nv",
                2,
                "\n",
                1,
                "assistant\n",
            ],
        ),
        ([user("u"), assistant("a", prefix=True)], [1, "user\nu", 2, "\n", 1, "assistant\na"]),
    ],
)
def test_chatml(turns, parts):
    assert CHATML.parts(turns) == parts


@given(
    st.lists(st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), st.text()), min_size=1),
    st.sampled_from([V1, V3, CHATML]),
)
def test_only_the_format_writes_control_tokens(turns, format):
    parts = format.parts(turns)
    assert {part for part in parts if isinstance(part, int)} <= {1, 2, 3, 4}
    text = "".join(part for part in parts if isinstance(part, str))
    assert all(turn.text.rstrip(" ") in text for turn in turns)


WEATHER = ToolSpec("weather", "Wëather of a city", {"type": "object", "properties": {"city": {"type": "string"}}})
TOOLS_JSON = (
    '[{"type": "function", "function": {"name": "weather", "description": "Wëather of a city", '
    '"parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]'
)
CALL = Call("abcDEF123", "weather", '{"city":"Zü\\"rich"}')
CALLS_JSON = '[{"name": "weather", "arguments": {"city": "Zü\\"rich"}, "id": "abcDEF123"}]'
CALLED = [
    system("SYS"),
    user("How is it?"),
    Turn("assistant", "", calls=(CALL,)),
    Turn("tool", "22", call_id="abcDEF123", name="weather"),
]
RESULT_JSON = '{"content": 22, "call_id": "abcDEF123"}'


def test_v3_has_control_tokens_for_tools():
    assert V3.parts(CALLED, [WEATHER]) == [
        *[1, 5, TOOLS_JSON, 6, 3, "SYS\n\nHow is it?", 4],
        *[7, CALLS_JSON, 2],
        *[8, RESULT_JSON, 9],
    ]


def test_v3_puts_system_and_tools_to_the_last_question():
    turns = [system("SYS"), user("u1"), assistant("a1  "), user("u2"), assistant("a2 ", prefix=True)]
    assert V3.parts(turns, [WEATHER]) == [1, 3, "u1", 4, "a1", 2, 5, TOOLS_JSON, 6, 3, "SYS\n\nu2", 4, "a2"]


def test_v3_answers_may_say_something_and_call():
    turns = [user("u"), Turn("assistant", "Let me see.", calls=(CALL,)), Turn("tool", "not JSON", call_id="abcDEF123")]
    assert V3.parts(turns) == [
        *[1, 3, "u", 4, "Let me see.", 7, CALLS_JSON, 2],
        *[8, '{"content": "not JSON", "call_id": "abcDEF123"}', 9],
    ]


@pytest.mark.parametrize("format", [V1, CHATML])
def test_tools_are_told_to_models_without(format):
    parts = format.parts(CALLED, [WEATHER])
    text = "".join(part for part in parts if isinstance(part, str))
    assert {part for part in parts if isinstance(part, int)} == {1, 2}
    assert text.index(TOOLS_JSON) < text.index("SYS") < text.index("How is it?")
    assert f"[TOOL_CALLS]{CALLS_JSON}" in text
    assert f"[TOOL_RESULTS]{RESULT_JSON}[/TOOL_RESULTS]" in text
    assert TOOLS_JSON not in "".join(map(str, format.parts(CALLED)))


def test_v1_takes_results_as_a_question():
    *_, answer, eos, question = V1.parts(CALLED, [WEATHER])
    assert (answer, eos) == (f"[TOOL_CALLS]{CALLS_JSON}", 2)
    assert question == f"[INST] [TOOL_RESULTS]{RESULT_JSON}[/TOOL_RESULTS] [/INST]"


MISTRAL = {"<unk>": 0, "<s>": 1, "</s>": 2}
LATER_MISTRAL = {**MISTRAL, "[INST]": 3, "[/INST]": 4}
V3_VOCABULARY = LATER_MISTRAL | {
    "[TOOL_CALLS]": 5,
    "[AVAILABLE_TOOLS]": 6,
    "[/AVAILABLE_TOOLS]": 7,
    "[TOOL_RESULTS]": 8,
    "[/TOOL_RESULTS]": 9,
}
V7_VOCABULARY = V3_VOCABULARY | {"[SYSTEM_PROMPT]": 16, "[/SYSTEM_PROMPT]": 17, "[TOOL_CONTENT]": 18}
V3_FORMAT = InstructV3(
    bos=1, eos=2, inst=3, end_inst=4, tools=6, end_tools=7, tool_calls=5, tool_results=8, end_tool_results=9
)
SMOLLM = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
CHATML_TEMPLATE = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"


@pytest.mark.parametrize(
    ("template", "vocabulary", "format"),
    [
        (baby.CHAT_TEMPLATE, MISTRAL, InstructV1(bos=1, eos=2)),
        (CHATML_TEMPLATE, SMOLLM, ChatML(im_start=1, im_end=2)),
        # A Mixtral that was tuned on ChatML.
        (CHATML_TEMPLATE, MISTRAL | {"<|im_end|>": 32000, "<|im_start|>": 32001}, ChatML(im_start=32001, im_end=32000)),
        ("", MISTRAL, InstructV1(bos=1, eos=2)),
        ("{{ '[INST] ' + message['content'] + '[/INST]' }}", V3_VOCABULARY, V3_FORMAT),
        ("", V3_VOCABULARY, V3_FORMAT),
        ("", SMOLLM, ChatML(im_start=1, im_end=2)),
    ],
)
def test_the_template_decides(template, vocabulary, format):
    assert prompt_format(template, vocabulary.get) == format


@pytest.mark.parametrize(
    ("template", "vocabulary"),
    [
        ("[INST] {{ message }}[/INST] [AVAILABLE_TOOLS]", MISTRAL),
        ("[INST] <<SYS>>\n{{ system }}\n<</SYS>>\n\n{{ message }} [/INST]", MISTRAL),
        (baby.CHAT_TEMPLATE, LATER_MISTRAL),
        (baby.CHAT_TEMPLATE, V7_VOCABULARY),
        (CHATML_TEMPLATE, MISTRAL),
        (baby.CHAT_TEMPLATE, SMOLLM),
        ("<|start_header_id|>user<|end_header_id|>", {"<|start_header_id|>": 5}),
        ("<|user|>{{ messages[0].content }}", V3_VOCABULARY),
    ],
)
def test_another_template_is_run(template, vocabulary):
    assert isinstance(prompt_format(template, vocabulary.get), TemplateFormat)


@pytest.mark.parametrize("vocabulary", [{}, LATER_MISTRAL, V7_VOCABULARY])
def test_nothing_to_go_by(vocabulary):
    with pytest.raises(EngineError, match=r"v1.*v3.*ChatML"):
        prompt_format("", vocabulary.get)


LLAMA_3 = {"<|begin_of_text|>": 10, "<|start_header_id|>": 11, "<|end_header_id|>": 12, "<|eot_id|>": 13}
LLAMA_3_TEMPLATE = """{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""
GEMMA = {"<bos>": 2, "<start_of_turn>": 3, "<end_of_turn>": 4}
GEMMA_TEMPLATE = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}
{% for message in messages -%}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' + message['content'] | trim }}
{{- '<end_of_turn>\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""


def test_a_template_is_written_out():
    laid_out = TemplateFormat(LLAMA_3_TEMPLATE, LLAMA_3.get)
    head, end = [11, "user", 12], 13
    assert laid_out.parts([user("hello")]) == [10, *head, "\n\nhello", end, 11, "assistant", 12, "\n\n"]
    assert laid_out.parts([user("hello"), assistant("Once ", prefix=True)]) == [
        *[10, *head, "\n\nhello", end],
        *[11, "assistant", 12, "\n\nOnce "],
    ]


def test_a_template_without_system_and_with_strict_order():
    laid_out = TemplateFormat(GEMMA_TEMPLATE, GEMMA.get)
    parts = laid_out.parts([system("SYS"), user("u1"), user("u2")])
    assert [part for part in parts if isinstance(part, int)] == [2, 3, 4, 3]
    assert "".join(part for part in parts if isinstance(part, str)) == "user\nSYS\n\nu1\n\nu2\nmodel\n"


V7_TEMPLATE = """{{ bos_token }}{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if tools and loop.last %}{{ '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}
{{- '[INST]' + message.content + '[/INST]' }}
{%- elif message.role == 'system' %}{{ '[SYSTEM_PROMPT]' + message.content + '[/SYSTEM_PROMPT]' }}
{%- elif message.role == 'tool' %}
{{- '[TOOL_RESULTS]' + message.tool_call_id + '[TOOL_CONTENT]' + message.content + '[/TOOL_RESULTS]' }}
{%- elif message.tool_calls %}{{ '[TOOL_CALLS][' }}
{%- for call in message.tool_calls %}
{%- if call.id | length != 9 %}{{ raise_exception('an id has 9 characters') }}{% endif %}
{{- '{"name": "' ~ call.function.name ~ '", "arguments": ' ~ call.function.arguments | tojson ~ '}' }}
{%- endfor %}{{ ']' + eos_token }}
{%- else %}{{ message.content + eos_token }}{% endif %}
{%- endfor %}"""


def test_a_template_that_knows_tools():
    laid_out = TemplateFormat(V7_TEMPLATE, V7_VOCABULARY.get)
    assert laid_out.parts([*CALLED, assistant("22 °C"), user("Thanks")], [WEATHER]) == [
        *[1, 16, "SYS", 17, 3, "How is it?", 4],
        *[5, '[{"name": "weather", "arguments": {"city": "Zü\\"rich"}}]', 2],
        *[8, "abcDEF123", 18, "22", 9, "22 °C", 2],
        *[6, TOOLS_JSON, 7, 3, "Thanks", 4],
    ]


@pytest.mark.parametrize(
    ("laid_out", "vocabulary"),
    [
        (TemplateFormat(template, vocabulary.get), vocabulary)
        for template, vocabulary in [
            (LLAMA_3_TEMPLATE, LLAMA_3),
            (GEMMA_TEMPLATE, GEMMA),
            (V7_TEMPLATE, V7_VOCABULARY),
        ]
    ],
)
@settings(deadline=None)
@given(text=st.text(), data=st.data())
def test_no_text_becomes_a_control_token_in_a_template(laid_out, vocabulary, text, data):
    evil = text + data.draw(st.sampled_from([*vocabulary, "\ue0000000000\ue001", "{{ bos_token }}"])) + text

    def conversation(text):
        called = Turn("assistant", "", calls=(Call("abcDEF123", "f", '{"a": 1}'),))
        return [user(text), called, Turn("tool", text, call_id="abcDEF123"), assistant(text), user(text)]

    def control(text):
        parts = laid_out.parts(conversation(text), [ToolSpec("f", text, {"properties": {text: {"enum": [text]}}})])
        return [part for part in parts if isinstance(part, int)]

    assert control(evil) == control("harmless")


BOMBS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "filtered loops": "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
    "recursion": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "doubling": "{% set n = namespace(x='xx') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "blocks": "{% set n = namespace(x='x') %}{% for a in range(99) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
    "sums": "{% set n = namespace(x='xx') %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "long text": "{{ 'x' * 999999999999 }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "format": "{{ '%999999999d' % 1 }}",
    "format method": "{{ '{:999999999}'.format(1) }}",
    "padding": "{{ 'x'.ljust(999999999) }}",
    "join": "{{ ('x' + 'x') | join('x') | replace('x', 'x' | replace('x', messages | string)) }}{{ 'x' * 9 }}",
    "internals": "{{ ''.__class__.__mro__ }}",
    "globals": "{{ raise_exception.__globals__.x }}",
    "attributes": "{{ (messages | map(attribute='__class__') | first).x }}",
    "include": "{% include '/etc/passwd' %}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_cannot_run_away_or_look_out(name):
    laid_out = TemplateFormat(BOMBS[name] + "{{ messages[0].content }}", {}.get)
    with pytest.raises(UnsupportedError, match="chat template"):
        laid_out.parts([user("hello")])


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{{ messages[0].content[1:] }}", "leaves out"),
        ("{{ messages[0].content }}{{ messages[0].content[:4] }}", "takes a text"),
        ("{{ raise_exception('not today') }}", "not today"),
        ("{{ messages[0].nothing.more }}", "does not take"),
        ("nothing", "leaves out"),
        ("{{ messages[0].content }}\ue0009999999\ue001", "makes up"),
    ],
)
def test_a_conversation_that_a_template_does_not_take(template, what):
    with pytest.raises(UnsupportedError, match=what):
        TemplateFormat(template, {}.get).parts([user("hello")])


@pytest.mark.parametrize("template", ["{% for", "{{ 'x' | center(9) }}", "{% nonsense %}"])
def test_a_template_that_cannot_be_run(template):
    with pytest.raises(EngineError, match="cannot be run"):
        TemplateFormat(template, {}.get)


@pytest.mark.weights
def test_no_text_becomes_a_control_token_of_the_default_model():
    with LlamaCppEngine(weights.default_model(), slots=1, context_length=512) as engine:
        laid_out = prompt_format(engine.chat_template, engine.token_id)
        names = [name for name in TOKENS_OF_SMOLLM2 if engine.token_id(name) is not None]
        assert len(names) == len(TOKENS_OF_SMOLLM2)
        control = {engine.token_id(name) for name in names}

        def controls(text):
            return [token for token in engine.tokenize(laid_out.parts([user(text)])) if token in control]

        for name in names:
            for text in (name, f"a{name}b", f" {name} {name}", f"{name}\n"):
                assert controls(text) == controls("harmless"), text


_TOKENS = (
    "<|endoftext|> <|im_start|> <|im_end|> <repo_name> <reponame> <file_sep> <filename> <gh_stars> <issue_start> "
    "<issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output> <jupyter_script> "
    "<empty_output>"
)
TOKENS_OF_SMOLLM2 = _TOKENS.split(" ")
