"""llama.cpp in this process, by way of `xllamacpp`: runs any GGUF file that llama.cpp knows, on the CPU.

`xllamacpp.Server` is llama.cpp's server with its queue and its slots, called without HTTP. Only its tokenizer has no
other door than the HTTP listener that it opens on the loopback interface; the listener asks for a random key that never
leaves this object.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import sys
import threading
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from mistral_client.server.engine import (
    LEAST_LOGPROB,
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
from mistral_client.server.weights import (
    WeightsError,
    check_model,
    control_tokens,
    is_embedding_model,
    is_float32,
    is_laid_out_anew,
    user_defined_tokens,
)

from .answer_text import AnswerText
from .lifetime import Lifetime
from .limit import limit_of
from .needs import BATCH, needs_of
from .processors import processors


def _import_xllamacpp() -> Any:
    # The threads of GNU OpenMP wait for each other in a busy loop, whose length is read when the library is loaded.
    # Beside other work on the same processors the usual length has cost 99 % of the speed; a short one costs little
    # alone. Told only for this import: the environment of child processes is not ours.
    told = not os.environ.keys().isdisjoint({"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"})
    if not told:
        os.environ["GOMP_SPINCOUNT"] = "5000"
    try:
        import xllamacpp  # noqa: PLC0415
    finally:
        if not told:
            del os.environ["GOMP_SPINCOUNT"]
    return xllamacpp


xllamacpp = _import_xllamacpp()

_processes: set[int] = set()
"""Processes that have loaded a model: this one, and those that it was forked from."""


class LlamaCppEngine:
    """A GGUF model, loaded. Implements `mistral_client.server.engine.Engine`.

    path: the file, or the first of a model in several files.
    context_length: tokens of prompt and answer together for each slot; default: what the model was trained with, at
    most 8192, less where that would take over a quarter of the machine's memory.
    slots: generations at the same time, each with a context of its own; default 4.
    threads: of computation; default: the processors that this process may use.

    With `random_seed`, or at temperature 0, nothing computed for an earlier prompt is used again, so the same request
    gives the same text each time it runs alone. Beside other requests it is computed in one batch with them, where
    rounding differs, and the text may part after a while.

    `presence_penalty` and `frequency_penalty` count the tokens of the prompt as well, as always in llama.cpp.

    While it loads a model `xllamacpp` keeps Python's lock: no other thread of the process runs.

    Raises `EngineError` when the file cannot be loaded.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        context_length: int | None = None,
        slots: int | None = None,
        threads: int | None = None,
    ) -> None:
        if _processes - {os.getpid()}:
            # OpenMP's threads stayed behind, and the first computation would wait for them for ever.
            raise EngineError(
                "a model was loaded before this process was forked, which llama.cpp does not survive: start processes "
                "with multiprocessing's 'spawn', or let them talk to `mistral-client serve`"
            )
        path = Path(path)
        try:
            header = check_model(path)
        except WeightsError as error:
            raise EngineError(str(error)) from error
        needs = needs_of(path, header, context_length, slots)
        self._slots, self._context_length = needs.slots, needs.context_length
        threads = processors() if threads is None else threads
        if threads < 1:
            raise EngineError(f"at least 1 thread is needed, not {threads}")
        self._chat_template = str(header.metadata.get("tokenizer.chat_template", ""))
        self._control_ids = control_tokens(header)
        # Files exist that declare <|im_start|> as user-defined, which llama.cpp finds in plain text too.
        marks = [token for token in user_defined_tokens(header) if re.fullmatch(r"<.+>|\[.+\]", token)]
        self._marks = re.compile("|".join(map(re.escape, marks))) if marks else None

        # Characters that one token stands for at most. Other kinds of vocabularies have one for any unknown word.
        of_pieces = header.metadata.get("tokenizer.ggml.model") in {"llama", "gpt2"}
        self._longest = max(map(len, header.metadata["tokenizer.ggml.tokens"])) if of_pieces else sys.maxsize

        self._lifetime = Lifetime()
        self._embedding = threading.Lock()

        key = secrets.token_urlsafe(32)
        _processes.add(os.getpid())
        self._is_embedding_model = is_embedding_model(header)
        # llama.cpp shares a batch out among the slots, and ends the process where that leaves a remainder. A model made
        # for embeddings has to see a text as a whole.
        each = self._context_length if self._is_embedding_model else max(BATCH // self._slots, 1)
        self._batch = each * self._slots
        self._server = _load(
            path,
            self._context_length,
            self._slots,
            threads,
            self._batch,
            key,
            exact=is_float32(header),
            mapped=not is_laid_out_anew(header),
            own_pooling=self._is_embedding_model,
        )
        # Answered by the native loop: llama.cpp never ends when it is told to end before that loop runs.
        self._server.handle_metrics()
        self._http = httpx.Client(
            base_url=self._server.listening_address,
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,  # no proxy sees a prompt
            timeout=60.0,
            # The listener ends a connection that is idle for 5 s; one that it is about to end must not be used again.
            limits=httpx.Limits(max_connections=self._slots, keepalive_expiry=2.0),
        )
        self._front, self._back = self._frame()

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def is_embedding_model(self) -> bool:
        return self._is_embedding_model

    @property
    def chat_template(self) -> str:
        return self._chat_template

    @property
    def follows_grammars(self) -> bool:
        return not self._is_embedding_model

    def token_id(self, token: str) -> int | None:
        return self._control_ids.get(token)

    def tokenize(self, parts: Sequence[Part]) -> list[int]:
        least = sum(len(part) for part in parts if isinstance(part, str)) // self._longest
        if least > self._context_length:
            raise ContextLengthError(least, self._context_length, at_least=True)
        content = [piece for part in parts for piece in (self._plain(part) if isinstance(part, str) else [part])]
        with self._lifetime.in_use():
            return self._tokens(content)

    def texts_of(self, tokens: Sequence[int]) -> list[TokenText]:
        with self._lifetime.in_use():
            spelled = self._tokenizer({"content": list(tokens), "with_pieces": True})
        control = set(self._control_ids.values())
        # Where a token is no whole text llama.cpp gives its bytes as numbers.
        return [
            TokenText(piece.encode() if isinstance(piece := entry["piece"], str) else bytes(piece), token in control)
            for token, entry in zip(tokens, spelled, strict=True)
        ]

    def generate(self, prompt: Sequence[int], sampling: Sampling, emit: Emit) -> Generation:
        if self._is_embedding_model:
            raise UnsupportedError("the model is made for embeddings and writes no text")
        limit, limited = limit_of(len(prompt), sampling, self.context_length)
        with self._lifetime.in_use():
            if limit < 1:  # llama.cpp would make one token
                return Generation("length", prompt_tokens=len(prompt), completion_tokens=0)
            answer = _Answer(emit, sampling, self._lifetime)
            self._complete(self._request(prompt, sampling, limit), answer)
        reason = "stop" if answer.stopped else limited
        return Generation(reason, prompt_tokens=len(prompt), completion_tokens=answer.tokens)

    def embed(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """One vector of unit norm for each prompt, in order: the mean over its tokens' last hidden states, or what a
        model made for embeddings makes of them.

        A prompt of more than a batch, about 256 tokens, is read in stretches that do not see each other; its vector is
        the mean of theirs, weighted by their length. A model made for embeddings reads any prompt at a stroke.
        Prompts of one length are read at once, so a vector may differ by rounding with what it is made beside.
        """
        for prompt in prompts:
            length = len(self._front) + len(prompt) + len(self._back)
            if length > self.context_length:
                raise ContextLengthError(length, self.context_length)
            if not prompt:
                raise EngineError("an empty text has no embedding")
        with self._lifetime.in_use():
            return [*map(_unit, self._means([[*self._front, *prompt, *self._back] for prompt in prompts]))]

    def close(self) -> None:
        """Stop what is running and give memory, threads and sockets back. May be called twice.

        What runs ends with `EngineError`, within a token or a batch. Not to be called by `emit`, which it waits for.
        """
        with self._lifetime.ending():
            self._http.close()
            # The only reference: the model is freed and its threads are joined here.
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _tokens(self, content: Sequence[str | int], *, framed: bool = False) -> list[int]:
        tokens: list[int] = self._tokenizer({"content": content, "add_special": framed, "parse_special": False})
        return tokens

    def _tokenizer(self, asked: Mapping[str, Any]) -> list[Any]:
        body = json.dumps(asked)
        try:
            response = self._http.post("/tokenize", content=body, headers={"Content-Type": "application/json"})
        except httpx.HTTPError as error:
            raise EngineError(f"llama.cpp's tokenizer did not answer: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise EngineError(f"llama.cpp cannot tokenize the prompt: {_reason(response)}")
        tokens: list[Any] = response.json()["tokens"]
        return tokens

    def _frame(self) -> tuple[list[int], list[int]]:
        """The control tokens that a model made for embeddings wants around a text, such as [CLS] and [SEP]."""
        if not self._is_embedding_model:
            return [], []
        plain, framed = self._tokens(["a"]), self._tokens(["a"], framed=True)
        start = next((at for at in range(len(framed)) if framed[at : at + len(plain)] == plain), 0)
        return framed[:start], framed[start + len(plain) :]

    def _plain(self, text: str) -> list[str]:
        """The text, cut inside of what would be taken for a control token."""
        if self._marks is None:
            return [text]
        cuts = [0, *(match.start() + 1 for match in self._marks.finditer(text)), len(text)]
        return [text[start:end] for start, end in pairwise(cuts)]

    def _request(self, prompt: Sequence[int], sampling: Sampling, limit: int) -> dict[str, Any]:
        repeatable = sampling.random_seed is not None or sampling.temperature == 0
        seed = secrets.randbits(32) if sampling.random_seed is None else sampling.random_seed
        request = {
            "prompt": list(prompt),
            "n_predict": limit,
            # 2**32 - 1 asks llama.cpp for a seed of its own.
            "seed": seed % (2**32 - 1),
            "cache_prompt": not repeatable,
            # Mistral's samplers in the order of mistral-inference, and nothing that a file or llama.cpp would add. To
            # find the likeliest token nothing has to be shaped and drawn.
            "samplers": ["penalties", *(["temperature", "top_k", "top_p"] if sampling.temperature else ["top_k"])],
            "mirostat": 0,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k if sampling.temperature else 1,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "repeat_penalty": sampling.repetition_penalty,
            "repeat_last_n": self.context_length,
            "stream": True,
            # Tells of each batch, for a listener who may have left. With eight answers at a time it takes a fourth of
            # the speed of them all, so only where there is more than one batch.
            "return_progress": len(prompt) > self._batch,
            # The count of tokens, which the last chunk has in any case; with a stop text any may be the last.
            "timings_per_token": bool(sampling.stop),
        }
        if sampling.grammar is not None:
            request["grammar"] = sampling.grammar
        if sampling.logprobs is not None:
            # At least one, for 0 means none. llama.cpp counts the token that was drawn among them.
            request["n_probs"] = max(sampling.logprobs, 1)
        if sampling.shown:
            request["preserved_tokens"] = list(sampling.shown)
        return request

    def _complete(self, request: Mapping[str, Any], answer: _Answer) -> None:
        self._server.handle_completions(request, answer)
        if answer.failure is not None:
            raise answer.failure
        if not answer.ended:
            raise EngineError("llama.cpp broke off the answer")

    def _means(self, prompts: Sequence[list[int]]) -> list[list[float]]:
        """The sum over the hidden states of each prompt, read in windows of a batch at most."""
        totals: list[list[float]] = [[] for _ in prompts]
        windows = [
            (place, prompt[start : start + self._batch])
            for place, prompt in enumerate(prompts)
            for start in range(0, len(prompt), self._batch)
        ]
        # Those of one length together: of windows that differ llama.cpp reads the longer ones' ends in a batch of their
        # own, and takes the mean over that alone.
        windows.sort(key=_length)
        for length, alike in groupby(windows, _length):
            waiting = [*alike]
            while waiting:
                batch = [waiting.pop() for _ in range(min(len(waiting), self._slots, self._batch // length))]
                for (place, _), mean in zip(batch, self._read([window for _, window in batch]), strict=True):
                    weighted = [length * value for value in mean]
                    total = totals[place]
                    totals[place] = [a + b for a, b in zip(total, weighted, strict=True)] if total else weighted
        return totals

    def _read(self, windows: list[list[int]]) -> list[list[float]]:
        """The mean over the hidden states of windows of one length, read in one batch."""
        with self._embedding:
            self._lifetime.check()
            reply = self._server.handle_embeddings({"input": windows, "embd_normalize": -1})
        if "error" in reply:
            raise _failure(reply)
        return [each["embedding"] for each in sorted(reply["data"], key=lambda each: each["index"])]


class _Answer:
    """What comes of one generation. Called with each chunk that llama.cpp makes; true ends the generation."""

    def __init__(self, emit: Emit, sampling: Sampling, lifetime: Lifetime) -> None:
        self.tokens = 0
        self.ended = False
        self.stopped = False
        """Ended by the model or a stop text, not by a limit."""
        self.failure: BaseException | None = None
        # Stop texts are not left to llama.cpp: where a limit ends the answer, it loses text that it holds back.
        self._text = AnswerText(emit, sampling.stop)
        self._alternatives = sampling.logprobs
        self._lifetime = lifetime

    def __call__(self, chunk: dict[str, Any]) -> bool:
        # xllamacpp swallows what its callback raises.
        try:
            return self._receive(chunk)
        except BaseException as failure:  # noqa: BLE001  # raised again by the caller
            self.failure = failure
            return True

    def _receive(self, chunk: dict[str, Any]) -> bool:
        self._lifetime.check()
        if "error" in chunk:
            raise _failure(chunk)
        choice = chunk["choices"][0]
        reason = choice["finish_reason"]
        self.tokens = chunk.get("timings", {}).get("predicted_n", self.tokens)
        tokens: tuple[TokenLogprob, ...] = ()
        if self._alternatives is not None:
            content = (choice["logprobs"] or {}).get("content") or ()
            tokens = tuple(_token(entry, self._alternatives) for entry in content)
        self.ended = self._text.add(choice["text"], tokens, last=reason is not None)
        self.stopped = self._text.stopped or reason == "stop"
        return self.ended


def _token(entry: Mapping[str, Any], alternatives: int) -> TokenLogprob:
    top = tuple(_token(other, 0) for other in entry.get("top_logprobs", ())[:alternatives])
    return TokenLogprob(entry["token"], entry["id"], max(entry["logprob"], LEAST_LOGPROB), top)


def _load(
    path: Path,
    context_length: int,
    slots: int,
    threads: int,
    batch: int,
    key: str,
    *,
    exact: bool = False,
    mapped: bool = True,
    own_pooling: bool = False,
) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = os.fspath(path)
    params.verbosity = -1
    if not mapped:
        # Pages that were mapped would stay in memory beside the copy that is computed with.
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.n_parallel = slots
    params.n_ctx = slots * context_length
    params.kv_unified = False
    params.fit_params = False
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.n_batch = params.n_ubatch = batch
    params.embedding = True
    if not own_pooling:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.warmup = False
    if exact:
        # Weights in full precision are there to compare with. Flash attention rounds to float16, as the cache does.
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    # llama.cpp would keep old prompts in up to 8 GiB beside the context.
    params.cache_ram_mib = 0
    params.n_ctx_checkpoints = 0
    # Prompts come as token ids. The file's own template, which is code, is not even compiled.
    params.chat_template = "chatml"
    params.api_keys = [key]
    params.endpoint_metrics = True
    params.endpoint_props = params.endpoint_slots = params.ui = False
    try:
        return xllamacpp.Server(params)
    except (RuntimeError, ValueError, OverflowError) as error:
        raise EngineError(
            f"llama.cpp cannot load {path}: the file may be damaged or of an architecture that it does not know, "
            f"or memory is short for a context of {slots} x {context_length} tokens"
        ) from error


def _length(window: tuple[int, list[int]]) -> int:
    return len(window[1])


def _unit(vector: Sequence[float]) -> list[float]:
    norm = math.sqrt(math.fsum(value * value for value in vector))
    if not norm or not math.isfinite(norm):
        raise EngineError("the model gave a vector without a direction")
    return [value / norm for value in vector]


def _failure(reply: Mapping[str, Any]) -> EngineError:
    return EngineError(f"llama.cpp failed: {reply['error'].get('message', reply['error'])}")


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
