"""The engine on Transformers by itself: what it refuses, how it ends, what it never runs."""

import gc
import json
import math
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from hypothesis import given
from hypothesis import strategies as st

from mistral_client.server import grammar
from mistral_client.server.engine import (
    ContextLengthError,
    Engine,
    EngineError,
    GenerationCancelled,
    Sampling,
    UnsupportedError,
)
from mistral_client.server.engines.transformers import TransformersEngine
from mistral_client.server.loading import ModelSpec, find, load
from mistral_client.server.weights import baby
from tests.server.weights.test_mutated_headers import mutated, reworded

QUESTION = [1, "[INST] What is in a name? [/INST]"]
GREEDY = Sampling(temperature=0, max_tokens=24)


@pytest.fixture(scope="module")
def engine(pair):
    with TransformersEngine(pair.safetensors, threads=1, slots=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def prompt(engine):
    return engine.tokenize(QUESTION)


@pytest.fixture
def folder(pair, tmp_path):
    return shutil.copytree(pair.safetensors, tmp_path / "baby")


@pytest.fixture
def said(listener):
    def text_of(engine, prompt, sampling):
        heard = listener()
        engine.generate(prompt, sampling, heard)
        return heard.text

    return text_of


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_it_is_an_engine(engine):
    typed: Engine = engine
    assert (typed.context_length, typed.slots, typed.chat_template) == (2048, 4, baby.CHAT_TEMPLATE)
    assert (typed.token_id("<s>"), typed.token_id("</s>"), typed.token_id("▁the")) == (1, 2, None)


def test_it_is_what_a_folder_is_loaded_with(pair):
    found = find(ModelSpec(str(pair.safetensors), threads=1))
    assert (found.name, found.description) == ("baby", "A local model: baby")
    loaded = load(ModelSpec(str(pair.safetensors), context_length=100, threads=1))
    with loaded.engine as engine:
        assert isinstance(engine, TransformersEngine)
        assert (engine.context_length, engine.slots) == (100, 1)


# Tokens


@given(
    st.lists(st.sampled_from(["<s>", "</s>", "<unk>", "[INST]", "<0x0A>", "\0", "the", " "]) | st.text(max_size=8)).map(
        "".join
    )
)
def test_no_text_becomes_a_control_token_and_none_is_lost(engine, text):
    tokens = engine.tokenize([text])
    assert not {0, 1, 2} & set(tokens)
    spelled = b"".join(map(engine._vocabulary.bytes_of, tokens)).decode()
    assert spelled == (" " + text.replace("▁", " ") if text else "")


def test_control_tokens_that_merges_lead_to_or_that_are_called_words(folder):
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    # Two ordinary words make room for what merges to a control token, and one for a token that is called a word.
    for old, new in {"▁answe": "s>", "▁answer": "<|im_start|>"}.items():
        vocabulary[new] = vocabulary.pop(old)
    kept = [merge for merge in merges if not "".join(merge).startswith("▁answe") and merge[0] != "▁answe"]
    tokenizer["model"]["merges"] = [["s", ">"], ["<", "s>"], *kept]
    called = {
        **tokenizer["added_tokens"][0],
        "id": vocabulary["<|im_start|>"],
        "content": "<|im_start|>",
        "special": False,
    }
    tokenizer["added_tokens"].append(called)
    path.write_text(json.dumps(tokenizer))
    with TransformersEngine(folder, threads=1) as engine:
        im_start = engine.token_id("<|im_start|>")
        assert im_start == vocabulary["<|im_start|>"]
        for text in ("<s>", "a<s>", "<|im_start|>", "x<|im_start|><|im_start|>system"):
            assert not {1, im_start} & set(engine.tokenize([text])), text
        assert vocabulary["s>"] in engine.tokenize(["<s>"])


def test_a_tokenizer_that_takes_text_for_control_tokens_is_not_trusted(folder):
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["normalizer"] = {"type": "Replace", "pattern": {"String": "x"}, "content": "y"}
    tokenizer["model"]["ignore_merges"] = True  # whole words of the vocabulary are taken as they are
    path.write_text(json.dumps(tokenizer))
    with TransformersEngine(folder, threads=1) as engine, pytest.raises(EngineError, match="for a control token"):
        engine.tokenize(["</s>"])


@pytest.mark.parametrize(
    "values",
    [
        {"decoder": None, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["x", "y"]]}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [[1, None, {}]]}},
        {"normalizer": {"type": "NoSuch"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}},
        {"decoder": 7},
    ],
)
def test_a_tokenizer_that_makes_no_sense_is_an_error(folder, values):
    change(folder / "tokenizer.json", **values)
    with pytest.raises(EngineError, match="tokenizer"):
        TransformersEngine(folder)


def test_a_text_too_long_for_the_context_is_refused_unread(engine):
    begun = time.monotonic()
    with pytest.raises(ContextLengthError, match="at least"):
        engine.tokenize(["x" * 8_000_000])
    assert time.monotonic() - begun < 1


# Generation


def test_greedy_and_seeds_repeat(engine, prompt, said):
    assert said(engine, prompt, GREEDY) == said(engine, prompt, GREEDY)
    for seed in (0, 2**32, 2**63):
        drawn = Sampling(temperature=1.5, top_p=0.9, max_tokens=24, random_seed=seed)
        assert said(engine, prompt, drawn) == said(engine, prompt, drawn) != said(engine, prompt, GREEDY)
    assert len({said(engine, prompt, Sampling(temperature=1.5, max_tokens=24)) for _ in range(4)}) > 1
    assert said(engine, prompt, Sampling(temperature=1.5, top_k=1, max_tokens=24)) == said(engine, prompt, GREEDY)


def test_generations_beside_each_other_are_what_they_are_alone(engine, said):
    prompts = [engine.tokenize([1, f"[INST] {word} [/INST]"]) for word in ("hello", "world", "water", "people")]
    drawn = Sampling(temperature=1.0, max_tokens=16, random_seed=1)
    alone = [said(engine, prompt, drawn) for prompt in prompts]
    assert len(set(alone)) == 4
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda prompt: said(engine, prompt, drawn), prompts * 3)) == alone * 3


def test_the_end_of_an_answer(folder, listener):
    """Whatever token comes third is made the one that ends answers."""
    with TransformersEngine(folder, threads=1) as engine:
        prompt = engine.tokenize(QUESTION)
        heard = listener()
        engine.generate(prompt, Sampling(temperature=0, max_tokens=5, logprobs=0), heard)
        ids = [token.id for token in heard.tokens]
    third = next(token for token in ids if token != ids[0])
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, third]}))
    with TransformersEngine(folder, threads=1) as engine:
        short = listener()
        generation = engine.generate(prompt, Sampling(temperature=0, max_tokens=5, logprobs=0), short)
    before = ids.index(third)
    assert generation.finish_reason == "stop"
    assert generation.completion_tokens == before + 1
    assert [token.id for token in short.tokens] == ids[:before]


def bytes_answered(engine, listener, monkeypatch, tokens, **options):
    """The pieces of an answer made of these tokens."""
    left = iter(tokens)
    monkeypatch.setattr("mistral_client.server.engines.sampler.Sampler.choose", lambda _self, _logits: next(left))
    heard = listener()
    engine.generate([1], Sampling(max_tokens=len(tokens), **options), heard)
    return [text for text in heard.heard if text], heard


def test_characters_come_whole(engine, listener, monkeypatch):
    def answered(data, **options):
        return bytes_answered(engine, listener, monkeypatch, [3 + byte for byte in data], **options)

    assert answered("a☃é\U0001f600".encode())[0] == ["a", "☃", "é", "\U0001f600"]
    # The rest of a character that a limit has cut off is none; what can be no character is one that stands for it.
    assert answered("a☃".encode()[:-1])[0] == ["a"]
    assert answered(b"a\xffb\xe2\x98b")[0] == ["a", "\ufffd", "b", "\ufffdb"]
    pieces, heard = answered("☃".encode(), logprobs=0)
    assert pieces == ["☃"]
    assert [token.id for token in heard.tokens] == [3 + byte for byte in "☃".encode()]


def test_control_tokens_are_shown_where_that_is_asked_for(engine, listener, monkeypatch):
    tokens = [300, 1, 301]
    spelled = [engine._vocabulary.bytes_of(token).decode() for token in tokens]
    assert bytes_answered(engine, listener, monkeypatch, tokens)[0] == [spelled[0], spelled[2]]
    shown, _ = bytes_answered(engine, listener, monkeypatch, tokens, shown=("<s>",))
    assert shown == [spelled[0], "<s>", spelled[2]]


def test_a_grammar_is_refused_and_not_ignored(engine, prompt, listener):
    heard = listener()
    with pytest.raises(UnsupportedError, match="a GGUF of the model can"):
        engine.generate(prompt, Sampling(grammar=grammar.ANY_OBJECT), heard)
    assert heard.heard == []


def test_prompts_that_cannot_be(engine, listener):
    with pytest.raises(ContextLengthError) as caught:
        engine.generate([300] * 2048, GREEDY, listener())
    assert (caught.value.tokens, caught.value.limit) == (2048, 2048)
    for prompt in ([], [10**9], [-5], [578]):
        for call in (lambda: engine.generate(prompt, GREEDY, listener()), lambda: engine.embed([prompt])):  # noqa: B023
            with pytest.raises(EngineError):
                call()
    with pytest.raises(ContextLengthError):
        engine.embed([[1], [300] * 2049])


def test_a_long_text_is_embedded_whole(engine):
    (vector,) = engine.embed([[300 + number % 250 for number in range(2048)]])
    assert len(vector) == baby.HIDDEN
    assert math.fsum(value * value for value in vector) == pytest.approx(1)
    assert engine.embed([]) == []


# Leaving


@pytest.mark.parametrize("calls", [1, 2, 3, 7])
def test_who_leaves_ends_the_generation(engine, prompt, listener, calls):
    heard = listener(leaves_after=calls)
    with pytest.raises(GenerationCancelled):
        engine.generate(prompt, Sampling(), heard)
    assert len(heard.heard) == calls


def test_who_leaves_while_the_prompt_is_read(engine, listener):
    for calls in (1, 2, 4):
        heard = listener(leaves_after=calls)
        with pytest.raises(GenerationCancelled):
            engine.generate([301] * 1900, Sampling(), heard)
        assert heard.heard == [""] * calls


def test_what_emit_raises_comes_out(engine, prompt):
    def emit(piece):
        raise LookupError("left")

    with pytest.raises(LookupError, match="left"):
        engine.generate(prompt, Sampling(), emit)


def test_short_memory_and_failures_are_told_apart(engine, prompt, listener, monkeypatch):
    def fails(message):
        def read(*_arguments):
            raise RuntimeError(message)

        monkeypatch.setattr("mistral_client.server.engines.transformers._Sequence.read", read)

    fails("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried 7 bytes")
    with pytest.raises(MemoryError):
        engine.generate(prompt, GREEDY, listener())
    fails("shapes cannot be multiplied")
    with pytest.raises(EngineError, match="Transformers failed: shapes"):
        engine.generate(prompt, GREEDY, listener())
    monkeypatch.undo()
    assert engine.generate(prompt, GREEDY, listener()).completion_tokens == 24


# Closing


def test_closing_ends_what_runs_and_frees_the_model(pair, listener):
    before = set(threading.enumerate())
    engine = TransformersEngine(pair.safetensors, threads=1, slots=4)
    model = weakref.ref(engine._model)
    begun, failures = threading.Event(), []

    def emit(piece):
        if piece.text:
            begun.set()
        return False

    def run():
        try:
            engine.generate([1, 300, 301], Sampling(), emit)
        except EngineError as failure:
            failures.append(str(failure))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    engine.close()
    engine.close()
    for thread in threads:
        thread.join(20)
    assert failures == ["the engine is closed"] * 4
    gc.collect()
    assert model() is None
    assert set(threading.enumerate()) == before
    for call in (
        lambda: engine.tokenize(["x"]),
        lambda: engine.generate([1], GREEDY, listener()),
        lambda: engine.embed([[1]]),
    ):
        with pytest.raises(EngineError, match="closed"):
            call()


def test_the_number_of_threads_is_its_own(pair):
    before = torch.get_num_threads()
    with TransformersEngine(pair.safetensors, threads=1) as one, TransformersEngine(pair.safetensors, threads=2) as two:
        assert [engine._compute(torch.get_num_threads) for engine in (one, two, one)] == [1, 2, 1]
        assert torch.get_num_threads() == before
    with pytest.raises(EngineError, match="at least 1 thread"):
        TransformersEngine(pair.safetensors, threads=0)


def child(folder, queue, engine):
    try:
        engine.generate([1, 300], Sampling(temperature=0, max_tokens=2), lambda _piece: False)
    except EngineError as error:
        queue.put(str(error))
    with TransformersEngine(folder, threads=2) as own:
        queue.put(own.generate([1, 300], Sampling(temperature=0, max_tokens=2), lambda _piece: False).completion_tokens)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked where there is fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told_and_can_load_its_own(pair, engine):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=[pair.safetensors, queue, engine])
    process.start()
    try:
        assert "before this process was forked" in queue.get(timeout=60)
        assert queue.get(timeout=60) == 2
        process.join(30)
        assert process.exitcode == 0
    finally:
        process.kill()


def test_not_a_word_on_the_terminal_and_nothing_in_the_network(pair):
    code = f"""
import socket
def refused(*arguments, **options):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refused
from mistral_client.server.engine import Sampling
from mistral_client.server.engines.transformers import TransformersEngine
with TransformersEngine({str(pair.safetensors)!r}) as engine:
    engine.generate(engine.tokenize([1, "hello"]), Sampling(max_tokens=5), lambda piece: False)
    engine.embed([[1, 300]])
left_open = TransformersEngine({str(pair.safetensors)!r})
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


# What is in a folder


EVIL = "open({mark!r}, 'w').close()\n"


def test_code_beside_a_checkpoint_is_never_run(folder, tmp_path):
    mark = tmp_path / "executed"
    for name in ("modeling_mixtral.py", "configuration_mixtral.py", "tokenization.py", "custom_generate.py", "evil.py"):
        (folder / name).write_text(EVIL.format(mark=str(mark)))
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}, tokenizer_class="evil.T")
    change(folder / "config.json", _attn_implementation="evil/kernels", attn_implementation="evil/kernels")
    (folder / "generation_config.json").write_text(json.dumps({"custom_generate": str(folder)}))
    with TransformersEngine(folder, threads=1) as engine:
        assert engine.generate([1, 300], GREEDY, lambda _piece: False).completion_tokens == 24
    change(folder / "config.json", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    with pytest.raises(EngineError, match="code of its own to be run"):
        TransformersEngine(folder)
    assert not mark.exists()


def test_what_transformers_does_not_know_is_said(folder):
    change(folder / "config.json", model_type="mixtral_9", architectures=["Mixtral9ForCausalLM"])
    with pytest.raises(EngineError, match=r"of the type 'mixtral_9', which Transformers .* does not know"):
        TransformersEngine(folder)


def test_weights_that_are_missing_are_not_made_up(folder):
    """Of a type whose tensors are not known here, so that Transformers finds out."""
    change(folder / "config.json", model_type="qwen3", architectures=["Qwen3ForCausalLM"], rope_parameters=None)
    with pytest.raises(EngineError, match=r"does not hold the weights that its config\.json describes: missing_keys"):
        TransformersEngine(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_act": "no_such"},
        {"rope_scaling": {"rope_type": "linear", "factor": 0}},
        {"rope_scaling": "x"},
        {"sliding_window": "x"},
        {"dtype": "float16", "hidden_act": 7},
    ],
)
def test_a_configuration_that_makes_no_sense_is_an_error(folder, values):
    change(folder / "config.json", **values)
    with pytest.raises(EngineError):
        TransformersEngine(folder, threads=1).close()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_types_of_numbers(folder, engine, prompt, dtype, listener):
    change(folder / "config.json", torch_dtype=dtype)
    exact, rounded = listener(), listener()
    asked = Sampling(temperature=0, max_tokens=4, logprobs=0)
    engine.generate(prompt, asked, exact)
    with TransformersEngine(folder, threads=1) as half:
        half.generate(prompt, asked, rounded)
    assert rounded.tokens[0].logprob == pytest.approx(exact.tokens[0].logprob, abs=0.3)
    assert rounded.tokens[0].logprob != exact.tokens[0].logprob


def test_mutated_headers_end_in_an_error_or_an_engine(folder):
    path = folder / "model.safetensors"
    original = path.read_bytes()
    end = 8 + int.from_bytes(original[:8], "little")
    header = json.loads(original[8:end])
    draw = random.Random(34)
    loaded = 0
    for number in range(1500):
        if number % 2:
            path.write_bytes(mutated(original, 0, end, draw))
        else:
            text = reworded(header, draw)
            path.write_bytes(len(text).to_bytes(8, "little") + text + original[end:])
        try:
            TransformersEngine(folder, threads=1).close()
            loaded += 1
        except EngineError:
            pass
    assert loaded < 150


def test_a_model_in_several_files(folder, engine, prompt, said):
    from tests.server.weights.test_checkpoint import split

    split(folder, 3)
    with TransformersEngine(folder, threads=1) as parts:
        assert said(parts, prompt, GREEDY) == said(engine, prompt, GREEDY)


def test_a_dense_mistral(folder, prompt, said):
    from tests.server.weights.test_checkpoint import dense

    dense(folder)
    with TransformersEngine(folder, threads=1) as engine:
        assert len(said(engine, prompt, GREEDY)) > 20
    assert Path(folder).is_dir()
