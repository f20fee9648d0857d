"""Conversations laid out by our sandbox, and by our own formats, against Transformers' `apply_chat_template`."""

import pytest

pytest.importorskip("transformers")

import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from mistral_client.server.prompt import ChatML, InstructV1, TemplateFormat, Turn, prompt_format
from mistral_client.server.weights import baby
from tests.server.test_prompt import GEMMA, GEMMA_TEMPLATE, LLAMA_3, LLAMA_3_TEMPLATE, V7_TEMPLATE, V7_VOCABULARY

CHATML = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
CHATML_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MIXTRAL = {"<unk>": 0, "<s>": 1, "</s>": 2}
ZEPHYR = {"<s>": 1, "</s>": 2}
ZEPHYR_TEMPLATE = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""


class Case:
    def __init__(self, template, vocabulary, bos="", eos="", *, ours=None):
        self.template = template
        self.names = {token: name for name, token in vocabulary.items()}
        self.format = ours or TemplateFormat(template, vocabulary.get)
        self.theirs = transformers.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(WordLevel({"x": 0}, unk_token="x")),
            bos_token=bos or None,
            eos_token=eos or None,
            chat_template=template,
        )

    def ours_of(self, turns):
        return "".join(part if isinstance(part, str) else self.names[part] for part in self.format.parts(turns))

    def theirs_of(self, turns):
        goes_on = turns[-1].prefix
        return self.theirs.apply_chat_template(
            [{"role": turn.role, "content": turn.text} for turn in turns],
            tokenize=False,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
        )


CASES = {
    "chatml": Case(CHATML_TEMPLATE, CHATML, eos="<|im_end|>"),
    "chatml, our own": Case(CHATML_TEMPLATE, CHATML, eos="<|im_end|>", ours=prompt_format(CHATML_TEMPLATE, CHATML.get)),
    "llama 3": Case(LLAMA_3_TEMPLATE, LLAMA_3, "<|begin_of_text|>", "<|eot_id|>"),
    "zephyr": Case(ZEPHYR_TEMPLATE, ZEPHYR, "<s>", "</s>"),
    "gemma": Case(GEMMA_TEMPLATE, GEMMA, "<bos>", "<eos>"),
    "mixtral": Case(baby.CHAT_TEMPLATE, MIXTRAL, "<s>", "</s>"),
    "mixtral, our own": Case(
        baby.CHAT_TEMPLATE, MIXTRAL, "<s>", "</s>", ours=prompt_format(baby.CHAT_TEMPLATE, MIXTRAL.get)
    ),
    "mistral v7": Case(V7_TEMPLATE, V7_VOCABULARY, "<s>", "</s>"),
}
WITHOUT_SYSTEM = ("gemma", "mixtral", "mixtral, our own")

NAMES = sorted({name for case in CASES.values() for name in case.names.values()})
# Templates that strip texts strip none of ours, which they do not see.
texts = (
    st.lists(st.text(max_size=20) | st.sampled_from([*NAMES, "{{ bos_token }}", "\n\n", "\ue0000000000\ue001"]))
    .map(lambda words: "".join(words).strip())
    .filter(bool)
)


@st.composite
def conversations(draw):
    """Questions and answers that alternate, and end with a question or the beginning of an answer."""
    said = draw(st.lists(texts, min_size=1, max_size=6))
    turns = [Turn("assistant" if number % 2 else "user", text) for number, text in enumerate(said)]
    if turns[-1].role == "assistant":
        turns[-1] = Turn("assistant", turns[-1].text, prefix=True)
    return turns


def test_the_cases_are_laid_out_by_what_they_say():
    assert isinstance(CASES["chatml, our own"].format, ChatML)
    assert isinstance(CASES["mixtral, our own"].format, InstructV1)
    templates = [case.format for case in CASES.values() if isinstance(case.format, TemplateFormat)]
    assert len(templates) == len(CASES) - 2


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=300, deadline=None)
@given(turns=conversations(), system=st.none() | texts)
def test_generated_conversations(name, turns, system):
    case = CASES[name]
    given_turns = turns if system is None else [Turn("system", system), *turns]
    if system is None or name not in WITHOUT_SYSTEM:
        assert case.ours_of(given_turns) == case.theirs_of(given_turns)
        return
    # These templates refuse a system text. We put it into the first question.
    with pytest.raises(TemplateError):
        case.theirs_of(given_turns)
    folded = [Turn("user", f"{system}\n\n{turns[0].text}"), *turns[1:]]
    assert case.ours_of(given_turns) == case.theirs_of(folded)


@pytest.mark.parametrize("name", ["chatml", "llama 3", "zephyr", "mistral v7"])
@settings(max_examples=200, deadline=None)
@given(turns=st.lists(st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), texts), min_size=1, max_size=5))
def test_any_order_where_the_template_takes_it(name, turns):
    turns = [*turns, Turn("user", "Go on.")]
    assert CASES[name].ours_of(turns) == CASES[name].theirs_of(turns)
