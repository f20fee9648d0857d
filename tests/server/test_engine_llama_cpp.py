import json
import math
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_client.server import grammar, weights
from mistral_client.server.engine import ContextLengthError, Engine, EngineError, GenerationCancelled, Sampling
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.weights import baby, smollm2

QUESTION = [1, "[INST] What is in a name? [/INST]"]
GREEDY = Sampling(temperature=0, max_tokens=24)


@pytest.fixture(scope="module")
def baby_gguf(tmp_path_factory):
    return baby.write_gguf(tmp_path_factory.mktemp("baby") / "baby.gguf")


@pytest.fixture(scope="module")
def engine(baby_gguf):
    # The baby's steps are so short that two threads would mostly wait for each other.
    with LlamaCppEngine(baby_gguf, threads=1) as engine:
        yield engine


@pytest.fixture(scope="module")
def prompt(engine):
    return engine.tokenize(QUESTION)


class Listener:
    """Keeps what it hears; leaves after so many calls."""

    def __init__(self, leaves_after=math.inf):
        self.heard = []
        self.tokens = []
        self.leaves_after = leaves_after

    def __call__(self, piece):
        self.heard.append(piece.text)
        self.tokens += piece.tokens
        return len(self.heard) >= self.leaves_after

    @property
    def text(self):
        return "".join(self.heard)


def text_of(engine, prompt, sampling):
    listener = Listener()
    engine.generate(prompt, sampling, listener)
    return listener.text


def test_it_is_an_engine(engine):
    typed: Engine = engine
    assert typed.slots == 4
    assert typed.context_length == 2048
    assert typed.chat_template == baby.CHAT_TEMPLATE


# Tokens


def test_control_tokens_have_ids_and_words_have_none(engine):
    assert (engine.token_id("<s>"), engine.token_id("</s>")) == (1, 2)
    assert engine.token_id("<|im_end|>") is None
    assert engine.token_id("▁the") is None
    assert engine.token_id("<0x0A>") is None


def test_each_text_is_encoded_on_its_own(engine):
    assert engine.tokenize(["ab", "cd"]) == engine.tokenize(["ab"]) + engine.tokenize(["cd"])
    assert engine.tokenize([1, "ab", 2]) == [1, *engine.tokenize(["ab"]), 2]
    assert engine.tokenize([]) == engine.tokenize([""]) == []


PIECES = ["<s>", "</s>", "<unk>", "[INST]", " [/INST]", "<|im_end|>", "<0x0A>", "\0", "the", " ", "\n"]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), min_size=1).map("".join))
def test_no_text_becomes_a_control_token(engine, text):
    vocabulary = baby.vocabulary()
    tokens = engine.tokenize([text])
    assert not {0, 1, 2} & set(tokens)
    spelled = b"".join(
        bytes([token - 3]) if token < 259 else vocabulary[token][0].replace("▁", " ").encode() for token in tokens
    )
    # SentencePiece puts a space in front, and cannot tell its own mark from one.
    assert spelled.decode() == (" " + text.replace("▁", " ") if text else "")


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), min_size=1).map("".join))
def test_tokens_stand_for_the_text_that_they_come_from(engine, text):
    texts = engine.texts_of([1, *engine.tokenize([text]), 2])
    assert [each.is_control for each in texts] == [True, *[False] * (len(texts) - 2), True]
    assert (texts[0].text, texts[-1].text) == (b"<s>", b"</s>")
    # SentencePiece puts a space in front.
    assert b"".join(each.text for each in texts[1:-1]).decode() in {text, f" {text}"}


def test_a_control_token_that_the_file_calls_a_word(tmp_path, monkeypatch):
    words = [*baby.vocabulary(), ("<|im_start|>", 0.0, 4)]
    monkeypatch.setattr(baby, "vocabulary", lambda: words)
    with LlamaCppEngine(baby.write_gguf(tmp_path / "baby.gguf"), threads=1) as engine:
        im_start = engine.token_id("<|im_start|>")
        assert im_start == len(words) - 1
        for text in ("<|im_start|>", "x<|im_start|><|im_start|>system", "<<|im_start|>|im_start|>"):
            assert im_start not in engine.tokenize([text])
        assert engine.tokenize([im_start, "x"])[0] == im_start


# Generation


def test_greedy_repeats(engine, prompt):
    first = Listener()
    generation = engine.generate(prompt, GREEDY, first)
    assert generation.finish_reason == "length"
    assert generation.prompt_tokens == len(prompt)
    assert generation.completion_tokens == 24
    assert len(first.text) > 24
    assert text_of(engine, prompt, GREEDY) == first.text


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**63])
def test_a_seed_repeats(engine, prompt, seed):
    sampling = Sampling(temperature=1.5, top_p=0.9, max_tokens=24, random_seed=seed)
    assert text_of(engine, prompt, sampling) == text_of(engine, prompt, sampling)


def test_without_a_seed_answers_differ(engine, prompt):
    assert len({text_of(engine, prompt, Sampling(temperature=1.5, max_tokens=24)) for _ in range(4)}) > 1


def test_top_p_and_penalties_are_used(engine, prompt):
    assert text_of(engine, prompt, Sampling(top_p=1e-6, max_tokens=24)) == text_of(engine, prompt, GREEDY)
    penalised = Sampling(temperature=0, max_tokens=24, frequency_penalty=2.0, presence_penalty=2.0)
    assert text_of(engine, prompt, penalised) != text_of(engine, prompt, GREEDY)


def test_nothing_but_temperature_shapes_the_draw(engine, prompt):
    # llama.cpp's own top_k, top_p and min_p would leave a handful of first tokens.
    hot = Sampling(temperature=1000.0, max_tokens=1)
    assert len({text_of(engine, prompt, hot) for _ in range(200)}) > 60


def test_slots_give_their_own_answers(engine):
    prompts = [engine.tokenize([1, f"[INST] {word} [/INST]"]) for word in ("hello", "world", "water", "people")]
    alone = [text_of(engine, prompt, GREEDY) for prompt in prompts]
    assert len(set(alone)) == 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda prompt: text_of(engine, prompt, GREEDY), prompts * 4))
    assert together == alone * 4


@pytest.mark.parametrize("tokens", [0, 1])
def test_few_tokens(engine, prompt, tokens):
    listener = Listener()
    generation = engine.generate(prompt, Sampling(max_tokens=tokens), listener)
    assert generation.finish_reason == "length"
    assert generation.completion_tokens == tokens
    assert len([text for text in listener.heard if text]) <= tokens


def test_a_stop_text_ends_the_answer_before_it(engine, prompt):
    whole = text_of(engine, prompt, GREEDY)
    for stop in (whole[10:14], whole[3], whole[:2], whole[12:20]):
        listener = Listener()
        generation = engine.generate(prompt, Sampling(temperature=0, max_tokens=24, stop=("no such", stop)), listener)
        assert listener.text == whole[: whole.index(stop)]
        assert generation.finish_reason == "stop"
        assert 0 < generation.completion_tokens <= 24


def test_what_might_have_become_a_stop_text_is_not_lost(engine, prompt):
    whole = text_of(engine, prompt, GREEDY)
    listener = Listener()
    generation = engine.generate(prompt, Sampling(temperature=0, max_tokens=24, stop=(whole[-6:] + "☃",)), listener)
    assert (listener.text, generation.finish_reason) == (whole, "length")


def test_an_empty_stop_text_stops_nothing(engine, prompt):
    assert text_of(engine, prompt, Sampling(temperature=0, max_tokens=24, stop=("",))) == text_of(
        engine, prompt, GREEDY
    )


def test_a_prompt_that_does_not_fit_is_refused(engine):
    with pytest.raises(ContextLengthError) as caught:
        engine.generate([300] * 2048, GREEDY, Listener())
    assert (caught.value.tokens, caught.value.limit) == (2048, 2048)


def test_a_full_context_ends_the_answer(engine):
    for sampling in (Sampling(temperature=0), Sampling(temperature=0, max_tokens=9)):
        generation = engine.generate([300] * 2040, sampling, Listener())
        assert (generation.finish_reason, generation.completion_tokens) == ("model_length", 8)
    generation = engine.generate([300] * 2040, Sampling(temperature=0, max_tokens=8), Listener())
    assert (generation.finish_reason, generation.completion_tokens) == ("length", 8)


@pytest.mark.parametrize("prompt", [[], [10**9], [-5]])
def test_a_prompt_without_meaning_is_an_error(engine, prompt):
    with pytest.raises(EngineError, match=r"(p|P)rompt"):
        engine.generate(prompt, GREEDY, Listener())


def test_any_json_object(engine, prompt):
    for seed in range(8):
        sampling = Sampling(temperature=1.0, max_tokens=800, random_seed=seed, grammar=grammar.ANY_OBJECT)
        listener = Listener()
        if engine.generate(prompt, sampling, listener).finish_reason == "stop":
            assert isinstance(json.loads(listener.text), dict)
        assert listener.text.startswith("{")


def test_what_is_no_grammar_is_refused(engine, prompt):
    for broken in ("root ::= (", "nothing", "root ::= nowhere"):
        with pytest.raises(EngineError, match="grammar"):
            engine.generate(prompt, Sampling(grammar=broken), Listener())
    assert text_of(engine, prompt, GREEDY)


@pytest.mark.parametrize("alternatives", [0, 3])
def test_log_probabilities(engine, prompt, alternatives):
    listener = Listener()
    engine.generate(prompt, Sampling(temperature=0, max_tokens=6, logprobs=alternatives), listener)
    assert [token.token for token in listener.tokens] == [text for text in listener.heard if text]
    for token in listener.tokens:
        assert token.logprob < 0
        assert len(token.top) == alternatives
        assert [other.logprob for other in token.top] == sorted((other.logprob for other in token.top), reverse=True)
        if alternatives:
            assert (token.top[0].id, token.top[0].logprob) == (token.id, token.logprob), "greedy takes the likeliest"


def test_top_k_and_repetition_penalty_are_used(engine, prompt):
    greedy = text_of(engine, prompt, GREEDY)
    assert text_of(engine, prompt, Sampling(temperature=1.5, top_k=1, max_tokens=24)) == greedy
    assert text_of(engine, prompt, Sampling(temperature=0, repetition_penalty=5.0, max_tokens=24)) != greedy


# Leaving


@pytest.mark.parametrize("calls", [2, 3, 7])
def test_who_leaves_ends_the_generation(engine, prompt, calls):
    listener = Listener(leaves_after=calls)
    with pytest.raises(GenerationCancelled):
        engine.generate(prompt, Sampling(), listener)
    assert len(listener.heard) == calls
    assert text_of(engine, prompt, GREEDY)


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_who_leaves_while_the_prompt_is_read(engine, calls):
    listener = Listener(leaves_after=calls)
    with pytest.raises(GenerationCancelled):
        engine.generate([301] * 1900, Sampling(), listener)
    assert listener.heard == [""] * calls


def test_what_emit_raises_comes_out(engine, prompt):
    class LeavingError(Exception):
        pass

    def emit(text):
        raise LeavingError

    with pytest.raises(LeavingError):
        engine.generate(prompt, Sampling(), emit)
    assert text_of(engine, prompt, GREEDY)


def test_closing_ends_what_runs(baby_gguf):
    engine = LlamaCppEngine(baby_gguf, threads=1)
    begun, failures = threading.Event(), []

    def emit(piece):
        if piece.text:
            begun.set()
            time.sleep(0.005)
        return False

    def run():
        try:
            engine.generate([1, 300, 301], Sampling(), emit)
        except EngineError as failure:
            failures.append(str(failure))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    started = time.monotonic()
    engine.close()
    engine.close()
    assert time.monotonic() - started < 1
    for thread in threads:
        thread.join()
    assert failures == ["the engine is closed"] * 6


def test_a_closed_engine_refuses(baby_gguf):
    with LlamaCppEngine(baby_gguf) as engine:
        pass
    for call in (
        lambda: engine.tokenize(["x"]),
        lambda: engine.generate([1], GREEDY, Listener()),
        lambda: engine.generate([1], Sampling(max_tokens=0), Listener()),
        lambda: engine.embed([[1]]),
    ):
        with pytest.raises(EngineError, match="closed"):
            call()
    assert engine.token_id("</s>") == 2


def test_opened_and_closed_at_once_many_times(baby_gguf):
    # llama.cpp once waited for ever when it was closed before its loop ran.
    for _ in range(20):
        LlamaCppEngine(baby_gguf, context_length=256, threads=1).close()


HELD = """
import os, sys
from pathlib import Path
from mistral_client.server.engine import Sampling
from mistral_client.server.engines.llama_cpp import LlamaCppEngine

def held():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE")

def use():
    with LlamaCppEngine(sys.argv[1], slots=8) as engine:
        engine.generate(engine.tokenize(["hello"]), Sampling(temperature=0, max_tokens=24), lambda text: False)
        assert held()[0] > before[0]

before = held()
for _ in range(16):  # the allocator keeps some of what was freed, until it has enough
    use()
before = held()
for _ in range(8):
    use()
after = held()
assert after[0] <= before[0] + 1, (before, after)  # llama.cpp itself has three or four that stay
assert after[1] == before[1], (before, after)
assert after[2] < before[2] + 30e6, (before, after)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux shows them")
def test_threads_files_and_memory_are_given_back(baby_gguf):
    """In a process of its own, where nothing else begins or ends."""
    subprocess.run([sys.executable, "-W", "error", "-c", HELD, baby_gguf], check=True, timeout=120)


# Embeddings


def test_embeddings_are_unit_vectors_in_order(engine):
    prompts = [[1, 300 + number, 310] for number in range(9)]
    together = engine.embed(prompts)
    for prompt, vector in zip(prompts, together, strict=True):
        assert len(vector) == baby.HIDDEN
        assert math.isclose(math.fsum(value * value for value in vector), 1.0, abs_tol=1e-6)
        (alone,) = engine.embed([prompt])
        assert vector == pytest.approx(alone, abs=1e-3)
    assert engine.embed([]) == []


def test_a_long_text_is_the_mean_of_its_stretches(engine):
    first, second = [1, *range(300, 555)], list(range(310, 410))
    (whole,) = engine.embed([first + second])
    of_first, of_second = engine.embed([first, second])
    assert math.isclose(math.fsum(value * value for value in whole), 1.0, abs_tol=1e-6)

    def cosine(one, other):
        return math.fsum(a * b for a, b in zip(one, other, strict=True))

    # Between the two, and nearer to the longer.
    assert cosine(whole, of_first) > cosine(whole, of_second) > cosine(of_first, of_second)


def test_a_text_has_one_embedding_whatever_it_comes_with(engine, prompt):
    """Texts of different lengths in one batch once had the mean over their last tokens alone."""
    texts = ("Hi", "The cat sleeps on the sofa.", "The cat", "x" * 40, "Ho", "The dog")
    prompts = [engine.tokenize([text]) for text in texts]
    alone = [engine.embed([prompt])[0] for prompt in prompts]
    together = []
    threads = [threading.Thread(target=lambda: together.append(engine.embed(prompts))) for _ in range(3)]
    threads.append(threading.Thread(target=text_of, args=(engine, prompt, GREEDY)))
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for vectors in together:
        for vector, expected in zip(vectors, alone, strict=True):
            assert sum(a * b for a, b in zip(vector, expected, strict=True)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("slots", "context_length"), [(1, 8), (3, 128), (5, 300), (256, 9)])
def test_any_number_of_slots(baby_gguf, slots, context_length):
    """llama.cpp ended the process where the slots did not divide its batch."""
    with LlamaCppEngine(baby_gguf, slots=slots, context_length=context_length, threads=1) as engine:
        prompt = [300] * (context_length - 2)
        assert engine.generate(prompt, GREEDY, lambda _text: False).prompt_tokens == context_length - 2
        assert len(engine.embed([prompt])[0]) == 64


def test_a_text_too_long_to_embed_is_refused(engine):
    assert len(engine.embed([[300] * 2048])) == 1
    with pytest.raises(ContextLengthError):
        engine.embed([[1], [300] * 2049])
    with pytest.raises(EngineError, match="empty"):
        engine.embed([[1], []])
    with pytest.raises(EngineError, match="invalid"):
        engine.embed([[10**9]])


# Loading


def test_what_cannot_be_loaded(tmp_path, baby_gguf):
    def refused(path, match, **options):
        with pytest.raises(EngineError, match=match):
            LlamaCppEngine(path, **options)

    refused(tmp_path / "none.gguf", "does not exist")
    text = tmp_path / "text.gguf"
    text.write_text("not a model")
    refused(text, "not a GGUF file")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(baby_gguf.read_bytes()[:-5000])
    refused(cut, "cut short")
    renamed = tmp_path / "renamed.gguf"
    renamed.write_bytes(baby_gguf.read_bytes().replace(b"output_norm.weight", b"output_nose.weight"))
    refused(renamed, "llama.cpp cannot load .*renamed.gguf")
    refused(baby_gguf, "trained with a context of 2048", context_length=4096)
    refused(baby_gguf, "8 to 2048, not 0", context_length=0)
    refused(baby_gguf, "1 to 256 slots", slots=0)
    refused(baby_gguf, "1 to 256 slots", slots=257)
    refused(baby_gguf, "at least 1 thread", threads=0)
    long = baby.write_gguf(tmp_path / "long.gguf", context=2**27)
    refused(long, r"needs 4\d{3}\.\d GB of memory and there are [\d.]+ GB", context_length=2**27, slots=64)
    with LlamaCppEngine(long) as engine:
        assert engine.context_length == 8192


def test_options(baby_gguf):
    with LlamaCppEngine(baby_gguf, context_length=100, slots=2, threads=1) as engine:
        assert (engine.context_length, engine.slots) == (100, 2)
        assert engine.generate([1] * 90, Sampling(temperature=0), Listener()).completion_tokens == 10


def test_not_a_word_on_the_terminal(baby_gguf, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(baby_gguf.read_bytes().replace(b"output_norm.weight", b"output_nose.weight"))
    code = f"""
from mistral_client.server.engine import EngineError, Sampling
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
try:
    LlamaCppEngine({str(broken)!r})
    raise SystemExit("loaded")
except EngineError:
    pass
with LlamaCppEngine({str(baby_gguf)!r}) as engine:
    prompt = engine.tokenize([1, "hello"])
    engine.generate(prompt, Sampling(max_tokens=5), lambda text: False)
    engine.generate(prompt, Sampling(max_tokens=50, grammar='root ::= "x"'), lambda text: False)
    engine.embed([prompt])
    for bad in ([], [10**9]):
        try:
            engine.generate(bad, Sampling(), lambda text: False)
        except EngineError:
            pass
left_open = LlamaCppEngine({str(baby_gguf)!r})
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


# The listener


@pytest.mark.parametrize(
    "path", ["/completion", "/v1/chat/completions", "/tokenize", "/v1/embeddings", "/apply-template"]
)
def test_the_listener_answers_no_stranger(engine, path):
    assert status(engine, path, b"{}") == 401


@pytest.mark.parametrize("path", ["/props", "/slots", "/metrics", "/models", "/lora-adapters"])
def test_the_listener_shows_strangers_nothing(engine, path):
    assert status(engine, path) == 401


def test_the_listener_is_on_the_loopback_and_has_no_pages(engine):
    assert engine._server.listening_address.startswith("http://127.0.0.1:")
    assert status(engine, "/") == 404


def status(engine, path, body=None):
    request = urllib.request.Request(engine._server.listening_address + path, data=body)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


# The default Mixtral


@pytest.fixture(scope="module")
def mixtral():
    with LlamaCppEngine(weights.resolve(None)) as engine:
        yield engine


QUESTIONS = ["What is the capital of France?", "Write one sentence about the sea.", "How much is two and two?"]


def chatml(engine, question):
    im_start, im_end = engine.token_id("<|im_start|>"), engine.token_id("<|im_end|>")
    return engine.tokenize([im_start, f"user\n{question}", im_end, "\n", im_start, "assistant\n"])


@pytest.mark.parametrize("kind", ["a", " ", "<|", "é🧀"])
def test_row36_a_text_too_long_is_not_tokenised(engine, kind):
    """It takes a second for each million characters; that they are too many for the context is seen at once."""
    begun = time.monotonic()
    with pytest.raises(ContextLengthError, match=r"at least \d+ tokens .* 2048 maximum") as raised:
        engine.tokenize([kind * 20_000_000])
    assert 2048 < raised.value.tokens <= 20_000_000 * len(kind)
    assert time.monotonic() - begun < 2
    assert len(engine.tokenize([kind * 1000])) >= 1000 * raised.value.tokens // 20_000_000


@pytest.mark.weights
def test_mixtral_ends_by_itself_and_shows_no_control_token(mixtral):
    listener = Listener()
    generation = mixtral.generate(chatml(mixtral, QUESTIONS[0]), Sampling(temperature=0, max_tokens=200), listener)
    assert generation.finish_reason == "stop"
    assert "Paris" in listener.text
    assert "<|" not in listener.text


@pytest.mark.weights
def test_mixtral_follows_a_schema(mixtral):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer"}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    text = text_of(
        mixtral,
        chatml(mixtral, QUESTIONS[0]),
        Sampling(temperature=0, max_tokens=80, grammar=grammar.of_schema(schema)),
    )
    answer = json.loads(text)
    assert set(answer) == {"city", "people"}
    assert text == json.dumps(answer, ensure_ascii=False)


@pytest.mark.weights
def test_mixtral_computes_what_the_dense_model_computes(mixtral, tmp_path):
    # Gates and down projections are rounded once more, for speed. Seen: 0.9 at most, 0.19 in the mean.
    with LlamaCppEngine(smollm2.fetch(tmp_path, shown=False)) as dense:
        off = differences(mixtral, dense)
    assert max(off) < 1.5
    assert math.fsum(off) / len(off) < 0.3


@pytest.mark.weights
def test_two_experts_compute_what_one_of_them_computes(mixtral, tmp_path):
    path = Path(shutil.copy(weights.default_model(), tmp_path))
    reader = gguf.GGUFReader(path, "r+")
    used = reader.fields["llama.expert_used_count"]
    used.parts[used.data[0]][:] = 1
    reader.data.flush()
    with LlamaCppEngine(path) as alone:
        off = differences(mixtral, alone)
    assert max(off) < 0.5
    assert math.fsum(off) / len(off) < 0.1


def differences(engine, other):
    """Of the log-probabilities of likely tokens, as both go on with what the other one finds likeliest."""
    off = []
    for question in QUESTIONS:
        prompt = chatml(engine, question)
        assert chatml(other, question) == prompt
        for _ in range(8):
            ours, theirs = next_tokens(engine, prompt), next_tokens(other, prompt)
            likely = {token: logprob for token, logprob in theirs.items() if logprob > math.log(0.05)}
            off += [abs(ours[token] - logprob) for token, logprob in likely.items()]
            prompt = [*prompt, next(iter(theirs))]
    assert len(off) > 24
    return off


def next_tokens(engine, prompt):
    """The twenty likeliest next tokens with their log-probabilities, the likeliest first."""
    chunks = []
    engine._server.handle_completions(
        {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": 20, "stream": True, "cache_prompt": False},
        chunks.append,
    )
    top = chunks[0]["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return {entry["id"]: entry["logprob"] for entry in top}
