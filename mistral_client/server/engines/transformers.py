"""Checkpoints in safetensors, by way of Transformers and PyTorch, on the CPU.

Nothing of a checkpoint is executed: its configuration is data, the code is that of Transformers itself, weights are
safetensors alone, and texts are read by the package `tokenizers`. Nothing is looked up in the network.
"""

from __future__ import annotations

import codecs
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mistral_client.server.engine import (
    ContextLengthError,
    Emit,
    EngineError,
    Generation,
    Part,
    Sampling,
    TokenLogprob,
    TokenText,
    UnsupportedError,
)
from mistral_client.server.weights import Checkpoint, WeightsError, check_checkpoint

from .answer_text import AnswerText
from .lifetime import Lifetime
from .limit import limit_of
from .needs import BATCH, needs_of_checkpoint
from .processors import processors
from .sampler import Logits, Sampler, logprobs
from .vocabulary import Vocabulary

try:
    import tokenizers  # noqa: F401
    import torch
    import transformers
    from transformers.utils import logging as transformers_logging
except ImportError as error:
    raise EngineError(
        f"checkpoints in safetensors need further packages: pip install 'mistral-client[transformers]' ({error})"
    ) from error

T = TypeVar("T")


class TransformersEngine:
    """A checkpoint, loaded. Implements `mistral_client.server.engine.Engine`.

    path: its folder, with `config.json`, weights in safetensors and `tokenizer.json`.
    context_length: tokens of prompt and answer together; default: what the model was trained with, at most 8192, less
    where that would take over a quarter of the machine's memory.
    slots: generations at the same time, default 1. More of them take turns, token by token: the model computes one at a
    time, so each has the speed of a slot divided by theirs.
    threads: of computation; default: the processors that this process may use. They are this engine's own: what else
    the process does with PyTorch keeps its number of threads.

    Weights are computed with in the type that the checkpoint names. The same request with `random_seed`, or at
    temperature 0, gives the same text, whatever runs beside it.

    Raises `EngineError` when the checkpoint cannot be loaded.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        context_length: int | None = None,
        slots: int | None = None,
        threads: int | None = None,
    ) -> None:
        try:
            checkpoint = check_checkpoint(path)
        except WeightsError as error:
            raise EngineError(str(error)) from error
        needs = needs_of_checkpoint(checkpoint, context_length, slots)
        self._slots, self._context_length = needs.slots, needs.context_length
        threads = processors() if threads is None else threads
        if threads < 1:
            raise EngineError(f"at least 1 thread is needed, not {threads}")
        self._chat_template = checkpoint.chat_template
        self._vocabulary = Vocabulary(checkpoint.tokenizer)
        self._vocabulary_size: int = checkpoint.config["vocab_size"]
        self._ends = _ends(checkpoint)
        self._lifetime = Lifetime()
        self._process = os.getpid()
        self._thread = ThreadPoolExecutor(1, "mistral-client transformers")
        """All of PyTorch runs in it, for the number of threads is a property of the thread that asks for them."""
        try:
            self._set_threads(threads)
            self._model = self._compute(lambda: _load(checkpoint))
        except BaseException:
            self._thread.shutdown()
            raise

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def chat_template(self) -> str:
        return self._chat_template

    @property
    def is_embedding_model(self) -> bool:
        return False

    @property
    def follows_grammars(self) -> bool:
        return False

    def token_id(self, token: str) -> int | None:
        return self._vocabulary.token_id(token)

    def tokenize(self, parts: Sequence[Part]) -> list[int]:
        least = sum(len(part) for part in parts if isinstance(part, str)) // self._vocabulary.longest
        if least > self._context_length:
            raise ContextLengthError(least, self._context_length, at_least=True)
        with self._in_use():
            return self._vocabulary.tokenize(parts)

    def texts_of(self, tokens: Sequence[int]) -> list[TokenText]:
        return [TokenText(self._vocabulary.bytes_of(token), self._vocabulary.is_control(token)) for token in tokens]

    def generate(self, prompt: Sequence[int], sampling: Sampling, emit: Emit) -> Generation:
        """As every engine does, but `UnsupportedError` for an answer that has to follow a grammar."""
        limit, limited = limit_of(len(prompt), sampling, self.context_length)
        self._check(prompt)
        if sampling.grammar is not None:
            raise UnsupportedError(
                "A model in safetensors cannot be held to JSON, a schema or the calls of tools here; "
                "a GGUF of the model can"
            )
        with self._in_use():
            if limit < 1:
                return Generation("length", prompt_tokens=len(prompt), completion_tokens=0)
            sequence = _Sequence(self._model)
            try:
                stopped, tokens = self._answer(sequence, prompt, sampling, emit, limit)
            finally:
                sequence.forget()
        return Generation("stop" if stopped else limited, prompt_tokens=len(prompt), completion_tokens=tokens)

    def embed(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """One vector of unit norm for each prompt, in order: the mean over its tokens' last hidden states."""
        for prompt in prompts:
            if len(prompt) > self.context_length:
                raise ContextLengthError(len(prompt), self.context_length)
            if not prompt:
                raise EngineError("an empty text has no embedding")
            self._check(prompt)
        with self._in_use():
            return [self._mean(prompt) for prompt in prompts]

    def close(self) -> None:
        """Stop what is running and give memory and threads back. May be called twice.

        What runs ends with `EngineError`, within a token or a batch. Not to be called by `emit`, which it waits for.
        """
        with self._lifetime.ending():
            self._model = None
            if self._process == os.getpid():
                self._thread.shutdown()
            # Modules refer to each other in circles.
            gc.collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        if self._process != os.getpid():
            raise EngineError(
                "the model was loaded before this process was forked, and its threads stayed behind: start processes "
                "with multiprocessing's 'spawn', or let them talk to `mistral-client serve`"
            )
        with self._lifetime.in_use():
            yield

    def _set_threads(self, threads: int) -> None:
        def set_own() -> None:
            torch.get_num_threads()  # without this, the first computation would take the number of the process
            torch.set_num_threads(threads)

        of_process = torch.get_num_threads()
        self._thread.submit(set_own).result()
        torch.set_num_threads(of_process)  # it was set for threads that begin later, too

    def _check(self, prompt: Sequence[int]) -> None:
        if not prompt:
            raise EngineError("an empty prompt has no answer")
        if not all(0 <= token < self._vocabulary_size for token in prompt):
            raise EngineError("the prompt holds tokens that the model does not have")

    def _compute(self, work: Callable[[], T]) -> T:
        """Run this in the thread of PyTorch, in turn. Raises `EngineError`, or `MemoryError`."""

        def run() -> T:
            with torch.inference_mode():
                return work()

        try:
            return self._thread.submit(run).result()
        except EngineError:
            raise
        except Exception as error:
            if "allocate memory" in str(error):
                raise MemoryError from error
            raise EngineError(f"Transformers failed: {error}") from error

    def _answer(
        self, sequence: _Sequence, prompt: Sequence[int], sampling: Sampling, emit: Emit, limit: int
    ) -> tuple[bool, int]:
        """Whether the model or a stop text ended the answer, and how many tokens it has."""
        text = AnswerText(emit, sampling.stop)
        sampler = Sampler(sampling, prompt)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        shown = {self.token_id(token) for token in sampling.shown}
        logits = self._read(sequence, prompt, text)
        for count in range(1, limit + 1):
            token = sampler.choose(logits)
            if token in self._ends:
                text.add("", last=True)
                return True, count
            hidden = self._vocabulary.is_control(token) and token not in shown
            # Bytes of a character that is not whole are held back; at the end they are none.
            piece = decoder.decode(b"" if hidden else self._vocabulary.bytes_of(token))
            wanted = sampling.logprobs is not None and not hidden
            tokens = [self._logprob(logits, token, sampling.logprobs or 0)] if wanted else []
            if text.add(piece, tokens, last=count == limit):
                break
            self._lifetime.check()
            logits = self._compute(lambda: sequence.read([token]))  # noqa: B023, it runs at once
        return text.stopped, count

    def _read(self, sequence: _Sequence, prompt: Sequence[int], text: AnswerText) -> Logits:
        """Read a prompt, a batch at a time."""
        for start in range(0, len(prompt), BATCH):
            self._lifetime.check()
            text.add("", last=False)
            batch = prompt[start : start + BATCH]
            logits = self._compute(lambda: sequence.read(batch))  # noqa: B023, it runs at once
        return logits

    def _mean(self, prompt: Sequence[int]) -> list[float]:
        sequence = _Sequence(self._model)
        total: NDArray[np.float64] | float = 0.0
        try:
            for start in range(0, len(prompt), BATCH):
                self._lifetime.check()
                batch = prompt[start : start + BATCH]
                total = total + self._compute(lambda: sequence.hidden(batch))  # noqa: B023, it runs at once
        finally:
            sequence.forget()
        norm = float(np.linalg.norm(total))
        if not norm or not np.isfinite(norm):
            raise EngineError("the model gave a vector without a direction")
        vector: list[float] = np.divide(total, norm).tolist()
        return vector

    def _logprob(self, logits: Logits, token: int, alternatives: int) -> TokenLogprob:
        logprob, likeliest = logprobs(logits, token, alternatives)
        top = tuple(TokenLogprob(self._text_of(other), other, value) for other, value in likeliest)
        return TokenLogprob(self._text_of(token), token, logprob, top)

    def _text_of(self, token: int) -> str:
        return self._vocabulary.bytes_of(token).decode("utf-8", "replace")


class _Sequence:
    """Tokens that the model has read, as its cache of keys and values."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: Any = None

    def read(self, tokens: Sequence[int]) -> Logits:
        """Read these tokens too, and give the logits of the next one."""
        output = self._model(**self._input(tokens), logits_to_keep=1)
        self._cache = output.cache
        logits: Logits = output.logits[0, -1].float().numpy()
        return logits

    def hidden(self, tokens: Sequence[int]) -> NDArray[np.float64]:
        """Read these tokens too, and give the sum of their last hidden states."""
        output = self._model.base_model(**self._input(tokens))
        self._cache = output.cache
        total: NDArray[np.float64] = output.last_hidden_state[0].double().sum(0).numpy()
        return total

    def forget(self) -> None:
        """Give the memory back."""
        self._cache = None

    def _input(self, tokens: Sequence[int]) -> dict[str, Any]:
        return {"input_ids": torch.tensor([list(tokens)]), "cache": self._cache, "use_cache": True}


def _load(checkpoint: Checkpoint) -> Any:
    """Raises `EngineError` for what Transformers does not know, and whatever it raises."""
    kind = checkpoint.config["model_type"]
    known = transformers.CONFIG_MAPPING
    if kind not in known:
        raise EngineError(
            f"{checkpoint.folder} is a model of the type {kind!r}, which Transformers {transformers.__version__} does "
            "not know: update it, or use a GGUF of the model"
        )
    # Choices of an implementation may name code that would be fetched from elsewhere.
    told = {
        name: value
        for name, value in checkpoint.config.items()
        if not name.startswith("_") and "implementation" not in name
    }
    with _quiet():
        config = known[kind].from_dict(told)
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=getattr(torch, checkpoint.dtype),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    # What is missing would be random.
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if report[what]:
            raise EngineError(
                f"{checkpoint.folder} does not hold the weights that its config.json describes: {what} "
                f"{min(map(str, report[what]))}; download it again"
            )
    model.eval()
    _Sequence(model).read([0])  # a model that is not read token by token fails here
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers draws bars and warns on standard error, in the whole process."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _ends(checkpoint: Checkpoint) -> set[int]:
    """The tokens that end an answer."""
    ends: set[int] = set()
    for source in (checkpoint.config, checkpoint.generation):
        given = source.get("eos_token_id")
        ends |= {token for token in (given if isinstance(given, list) else [given]) if type(token) is int}
    return ends
