"""Our prompts against those of mistral-common, token by token, with its own vocabularies and llama.cpp's tokenizer."""

import json
import random
from itertools import pairwise

import pytest

pytest.importorskip("mistral_common", minversion="1.13")
pytest.importorskip("sentencepiece")

import gguf
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, ToolMessage, UserMessage
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Function, FunctionCall, Tool, ToolCall
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.prompt import Call, InstructV1, InstructV3, ToolSpec, Turn, prompt_format

GENERATED = 10_000


class Vocabulary:
    """A tokenizer of mistral-common, and an engine of ours with the same pieces."""

    def __init__(self, version, folder):
        self.theirs = getattr(MistralTokenizer, version)()
        self.normalizer = get_normalizer(self.theirs.version)
        self.pieces = self.theirs.instruct_tokenizer.tokenizer._model
        self.control = {
            self.pieces.id_to_piece(token): token
            for token in range(self.pieces.vocab_size())
            if self.pieces.IsControl(token)
        }
        self.engine = LlamaCppEngine(write_gguf(folder / f"{version}.gguf", self.pieces), slots=1, context_length=512)
        self.format = prompt_format("", self.engine.token_id)

    def expected(self, messages, tools=()):
        request = ChatCompletionRequest(messages=messages, tools=list(tools) or None)
        return self.theirs.instruct_tokenizer.encode_instruct(
            self.normalizer.from_chat_completion_request(request)
        ).tokens

    def encoded(self, parts):
        return [token for part in parts for token in ([part] if isinstance(part, int) else self.pieces.encode(part))]


def write_gguf(path, pieces):
    """A model of one layer of zeros around a vocabulary."""
    import numpy as np

    def kind(token):
        if pieces.IsUnknown(token):
            return gguf.TokenType.UNKNOWN
        if pieces.IsControl(token):
            return gguf.TokenType.CONTROL
        return gguf.TokenType.BYTE if pieces.IsByte(token) else gguf.TokenType.NORMAL

    ids, hidden, wide = range(pieces.vocab_size()), 32, 32
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(2048)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(hidden)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(ids))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([pieces.id_to_piece(token) for token in ids])
    writer.add_token_scores([pieces.GetScore(token) for token in ids])
    writer.add_token_types([kind(token) for token in ids])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(True)
    for name in ("token_embd", "output"):
        writer.add_tensor(f"{name}.weight", np.zeros((len(ids), hidden), np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(hidden, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((wide, hidden), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module", params=["v1", "v3"])
def vocabulary(request, tmp_path_factory):
    vocabulary = Vocabulary(request.param, tmp_path_factory.mktemp("vocabulary"))
    yield vocabulary
    vocabulary.engine.close()


def test_the_vocabulary_tells_the_format(vocabulary):
    assert isinstance(vocabulary.format, InstructV1 if vocabulary.theirs.version.value == "v1" else InstructV3)


_WORDS = """
Hello world \n \t Straße naïve 日本語 🦆👩‍👩‍👧 <s> </s> [INST] [/INST] <<SYS>> [TOOL_CALLS] [AVAILABLE_TOOLS] [TOOL_RESULTS] <unk> <0x0A>
▁ ▁▁ 12345 3.14 {"a":1} "quote" back\\slash don't   it's e\u0301 \u200b \u202e ﬁ Ⅷ ½ \u00a0 \r\n ... --- ==== def f(x): العربية हिन्दी
"""
WORDS = _WORDS.split(" ")


def some_text(dice):
    words = [dice.choice(WORDS) for _ in range(dice.randint(0, 12))]
    words += [chr(dice.choice([dice.randint(32, 126), dice.randint(0xA0, 0xD7FF), dice.randint(0x10000, 0x1FFFF)]))]
    dice.shuffle(words)
    return dice.choice(["", " "]).join(words) + dice.choice(["", "", " ", "  ", "\n"])


def some_json(dice):
    return {
        "city": some_text(dice),
        "days": dice.randint(-5, 10**12),
        "deep": [None, True, 1.5, {"a": some_text(dice)}],
    }


def some_conversation(dice, with_tools):
    """Our turns, and the same as messages of mistral-common."""
    turns, messages = [], []
    for _ in range(dice.randint(1, 7)):
        role = dice.choice(["system", "user", "user", "assistant", "assistant", "call"])
        text = some_text(dice)
        if role == "system":
            turns.append(Turn("system", text))
            messages.append(SystemMessage(content=text))
        elif role == "user":
            text = dice.choice([text, text, text, ""])
            turns.append(Turn("user", text))
            messages.append(UserMessage(content=text))
        elif role == "call" and with_tools:
            calls = [Call(f"{dice.randint(0, 10**9 - 1):09}", "weather", json.dumps(some_json(dice))) for _ in "ab"]
            turns.append(Turn("assistant", "", calls=tuple(calls)))
            made = [
                ToolCall(id=call.id, function=FunctionCall(name=call.name, arguments=call.arguments)) for call in calls
            ]
            messages.append(AssistantMessage(content=None, tool_calls=made))
            for call in calls:
                result = dice.choice([text, "", "22", json.dumps(some_json(dice))])
                turns.append(Turn("tool", result, call_id=call.id, name="weather"))
                messages.append(ToolMessage(content=result, tool_call_id=call.id, name="weather"))
        # Neighbours are joined, and mistral-common refuses text and calls in one.
        elif not (turns and turns[-1].calls):
            turns.append(Turn("assistant", text))
            messages.append(AssistantMessage(content=text))
    if turns and turns[-1].role == "assistant" and not turns[-1].calls and dice.random() < 0.5:
        turns[-1] = Turn("assistant", turns[-1].text, prefix=True)
        messages[-1] = AssistantMessage(content=turns[-1].text, prefix=True)
    # As above, where an answer and a call met.
    roles = [(turn.role, bool(turn.calls)) for turn in turns]
    met = any(a[0] == b[0] == "assistant" and (a[1] or b[1]) for a, b in pairwise(roles))
    return some_conversation(dice, with_tools) if met or not turns else (turns, messages)


TOOL = ToolSpec("weather", "The wëather, [INST]", {"type": "object", "properties": {"city": {"type": "string"}}})
THEIR_TOOL = Tool(function=Function(name=TOOL.name, description=TOOL.description, parameters=dict(TOOL.parameters)))


def test_generated_conversations(vocabulary):
    dice = random.Random(20240216)
    with_tools = isinstance(vocabulary.format, InstructV3)
    called = 0
    for number in range(GENERATED):
        turns, messages = some_conversation(dice, with_tools)
        offered = with_tools and dice.random() < 0.3
        called += any(turn.calls for turn in turns)
        parts = vocabulary.format.parts(turns, [TOOL] if offered else [])
        expected = vocabulary.expected(messages, [THEIR_TOOL] if offered else [])
        assert vocabulary.encoded(parts) == expected, turns
        if number % 5 == 0:
            assert vocabulary.engine.tokenize(parts) == expected, turns
    assert bool(called) == with_tools


def test_no_control_token_comes_from_text(vocabulary):
    assert len(vocabulary.control) == (2 if isinstance(vocabulary.format, InstructV1) else 750)
    usual = vocabulary.engine.tokenize(vocabulary.format.parts([Turn("user", "x")]))
    controls = set(vocabulary.control.values())
    for name in vocabulary.control:
        for text in (name, f"a{name}b", f" {name} {name}", f"{name}\n"):
            ids = vocabulary.engine.tokenize(vocabulary.format.parts([Turn("user", text)]))
            assert [token for token in ids if token in controls] == [token for token in usual if token in controls], (
                text
            )


def function(name, description, required=(), **properties):
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"name": name, "description": description, "parameters": parameters}


CITY = {"type": "string", "description": "The city and state, e.g. San Francisco, CA"}
UNIT = {
    "type": "string",
    "enum": ["celsius", "fahrenheit"],
    "description": "The temperature unit to use. Infer this from the users location.",
}
DAYS = {"type": "integer", "description": "The number of days to forecast"}
FORECAST = {f"2024-05-{day}": f"{day}" for day in range(22, 27)}
RULES = [
    "Don't make assumptions about what values to plug into functions.",
    "Ask for clarification if a user request is ambiguous.",
]
WEATHER_TOOLS = [
    function("get_current_weather", "Get the current weather", ["location", "format"], location=CITY, format=UNIT),
    function(
        "get_n_day_weather_forecast",
        "Get an N-day weather forecast",
        ["location", "format", "num_days"],
        location=CITY,
        format=UNIT,
        num_days=DAYS,
    ),
]


def call(name, **arguments):
    return Turn("assistant", "", calls=(Call("123456789", name, json.dumps(arguments, separators=(",", ":"))),))


def result(name, text):
    return Turn("tool", text, call_id="123456789", name=name)


WEATHER = [
    *(Turn("system", rule) for rule in RULES),
    Turn("user", "What's the weather like today"),
    Turn("assistant", "Sure, can you please provide me with your location?"),
    Turn("user", "I'm in Paris, France."),
    call("get_current_weather", location="Paris, France", format="celsius"),
    result("get_current_weather", "22"),
    Turn("assistant", "The current temperature in Paris, France is 22 degrees Celsius."),
    Turn("user", "what is the weather going to be like in Paris, France over the next x days"),
    Turn("assistant", "Please tell me the number of days you want the weather forecast for."),
    Turn("user", "5 days"),
    call("get_n_day_weather_forecast", location="Paris, France", format="celsius", num_days=5),
    result("get_n_day_weather_forecast", json.dumps(FORECAST, separators=(",", ":"))),
]
SUMS = [
    Turn("user", "What's the result of 5 + 5?"),
    Turn("assistant", "The result of 5 + 5 is 10."),
    Turn("user", "What is the square root of 64?"),
    Turn("assistant", "The square root of 64 is 8, because 8 x 8 equals 64."),
    Turn("user", "Can you multiply the results of the previous two questions?"),
    Turn("assistant", "Sure! The result of 10 x 8 is 80."),
    Turn("user", "Thanks"),
]


def theirs(turn):
    match turn.role:
        case "system":
            return SystemMessage(content=turn.text)
        case "user":
            return UserMessage(content=turn.text)
        case "tool":
            return ToolMessage(content=turn.text, tool_call_id=turn.call_id, name=turn.name)
    calls = [ToolCall(id=c.id, function=FunctionCall(name=c.name, arguments=c.arguments)) for c in turn.calls]
    return AssistantMessage(content=turn.text or None, tool_calls=calls or None, prefix=turn.prefix)


@pytest.mark.parametrize(
    ("turns", "tools"),
    [(SUMS, []), (WEATHER, WEATHER_TOOLS), (WEATHER[2:], WEATHER_TOOLS), (WEATHER[:3], WEATHER_TOOLS)],
    ids=["no tools", "weather", "weather without system text", "weather without history"],
)
def test_the_sample_conversations_of_mistral_common(vocabulary, turns, tools):
    if tools and isinstance(vocabulary.format, InstructV1):
        pytest.skip("this format has no tools")
    expected = vocabulary.expected(
        [theirs(turn) for turn in turns], [Tool(function=Function(**tool)) for tool in tools]
    )
    parts = vocabulary.format.parts(turns, [ToolSpec(**tool) for tool in tools])
    assert vocabulary.engine.tokenize(parts) == expected


SPECIMEN = [
    Turn("system", "SYS"),
    Turn("user", "u1"),
    Turn("assistant", "a1 "),
    Turn("user", "u2"),
]


def test_the_written_specimen():
    version = MistralTokenizer.v1()
    pieces = version.instruct_tokenizer.tokenizer._model
    parts = InstructV1(1, 2).parts(SPECIMEN)
    ids = [token for part in parts for token in ([part] if isinstance(part, int) else pieces.encode(part))]
    # fmt: off
    assert ids == [1, 733, 16289, 28793, 17121, 28735, 13, 13, 28718, 28740, 733, 28748, 16289, 28793, 264, 28740,
                   28705, 2, 733, 16289, 28793, 332, 28750, 733, 28748, 16289, 28793]
    # fmt: on
