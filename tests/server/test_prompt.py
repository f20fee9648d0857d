import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_client.server.engine import EngineError
from mistral_client.server.prompt import ChatML, InstructV1, Turn, prompt_format
from mistral_client.server.weights import baby

V1 = InstructV1(bos=1, eos=2)
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
    st.sampled_from([V1, CHATML]),
)
def test_only_the_format_writes_control_tokens(turns, format):
    parts = format.parts(turns)
    assert {part for part in parts if isinstance(part, int)} <= {1, 2}
    text = "".join(part for part in parts if isinstance(part, str))
    assert all(turn.text in text for turn in turns)


MISTRAL = {"<unk>": 0, "<s>": 1, "</s>": 2}
LATER_MISTRAL = {**MISTRAL, "[INST]": 3, "[/INST]": 4}
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
        ("", LATER_MISTRAL),
        (CHATML_TEMPLATE, MISTRAL),
        (baby.CHAT_TEMPLATE, SMOLLM),
        ("<|start_header_id|>user<|end_header_id|>", {"<|start_header_id|>": 5}),
        ("", {}),
    ],
)
def test_another_format_is_refused(template, vocabulary):
    with pytest.raises(EngineError, match=r"v1.*ChatML"):
        prompt_format(template, vocabulary.get)
