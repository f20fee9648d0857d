"""A Mixtral of the exact shape of 8x7B, 46.7 billion random weights in Q2_K, served with its full context: python -m tests.fullsize.

It takes 16 GB of disk for some minutes and 20 GB of memory. The answer is noise; what is shown is that a model of this
size is loaded, that its memory is what was said, and that it streams.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import psutil

from mistral_client import MistralClient
from mistral_client.server import memory, weights
from mistral_client.server.engines.needs import needs_of
from mistral_client.server.weights import baby
from mistral_client.server.weights.progress import bar

LAYERS, HIDDEN, HEADS, KEY_VALUE_HEADS, FEED_FORWARD, EXPERTS, VOCABULARY, CONTEXT = (
    32,
    4096,
    32,
    8,
    14336,
    8,
    32000,
    32768,
)
"""https://huggingface.co/mistralai/Mixtral-8x7B-Instruct-v0.1/blob/main/config.json"""

MOST = 20e9
"""Bytes that the process may take."""

_BLOCK = np.dtype([("scales", "u1", 16), ("quants", "u1", 64), ("d", "<f2"), ("dmin", "<f2")])
"""256 weights in Q2_K: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h"""

_CHUNK = 2**18  # blocks, of 84 bytes each


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each tensor with its shape as numpy has it."""
    head = HIDDEN // HEADS
    yield "token_embd.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        for name, shape in (
            ("attn_norm", (HIDDEN,)),
            ("attn_q", (HIDDEN, HIDDEN)),
            ("attn_k", (KEY_VALUE_HEADS * head, HIDDEN)),
            ("attn_v", (KEY_VALUE_HEADS * head, HIDDEN)),
            ("attn_output", (HIDDEN, HIDDEN)),
            ("ffn_norm", (HIDDEN,)),
            ("ffn_gate_inp", (EXPERTS, HIDDEN)),
            ("ffn_gate_exps", (EXPERTS, FEED_FORWARD, HIDDEN)),
            ("ffn_down_exps", (EXPERTS, HIDDEN, FEED_FORWARD)),
            ("ffn_up_exps", (EXPERTS, FEED_FORWARD, HIDDEN)),
        ):
            yield f"blk.{layer}.{name}.weight", shape
    yield "output_norm.weight", (HIDDEN,)
    yield "output.weight", (VOCABULARY, HIDDEN)


def write(path: Path, seed: int = 0) -> None:
    """Write the model, a part of a tensor at a time."""
    random = np.random.default_rng(seed)
    tokens = baby.vocabulary()
    tokens += [(f"▁word{number}", -float(number), 1) for number in range(len(tokens), VOCABULARY)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Mixtral 8x7B of noise")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(1e6)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(2)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(baby.CHAT_TEMPLATE)
    sizes = {}
    for name, shape in shapes():
        quantised = len(shape) > 1 and "gate_inp" not in name
        kind = gguf.GGMLQuantizationType.Q2_K if quantised else gguf.GGMLQuantizationType.F32
        count = int(np.prod(shape))
        sizes[name] = count // 256 * _BLOCK.itemsize if quantised else 4 * count
        writer.add_tensor_info(name, shape, np.dtype("f4"), sizes[name], kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("ab") as file, bar("Writing noise", sum(sizes.values()), shown=sys.stderr.isatty()) as done:
        written = 0
        for name, shape in shapes():
            file.write(bytes(-file.tell() % writer.data_alignment))
            if len(shape) > 1 and "gate_inp" not in name:
                blocks = sizes[name] // _BLOCK.itemsize
                for start in range(0, blocks, _CHUNK):
                    file.write(_blocks(random, min(_CHUNK, blocks - start)).data)
            elif len(shape) == 1:
                file.write(np.ones(shape, "<f4").data)
            else:
                file.write(random.normal(0, HIDDEN**-0.5, shape).astype("<f4").data)
            written += sizes[name]
            done(written)


def _blocks(random: np.random.Generator, count: int) -> np.ndarray:
    """Weights d * scale * quant - dmin * minimum, of mean 0 and a deviation of about 1 / 64."""
    blocks = np.frombuffer(random.bytes(count * _BLOCK.itemsize), _BLOCK).copy()
    blocks["d"], blocks["dmin"] = 0.0011, 0.0011 * 1.5
    return blocks.view(np.uint8)


@contextlib.contextmanager
def serving(path: Path) -> Iterator[tuple[psutil.Process, str]]:
    """`mistral-client serve`, and its address."""
    command = [sys.executable, "-m", "mistral_client.cli", "serve", "--model", str(path), "--port", "0", "--slots", "1"]
    process = subprocess.Popen([*command, "--context-length", str(CONTEXT)], stderr=subprocess.PIPE, text=True)
    try:
        said = ""
        while not (found := re.search(r"MISTRAL_ENDPOINT=(\S+)", said)):
            line = process.stderr.readline()
            if not line:
                raise SystemExit(f"the server did not start: {said}")
            said += line
        yield psutil.Process(process.pid), found[1]
    finally:
        process.terminate()
        process.wait(60)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="fullsize-", dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        path = Path(folder) / "mixtral-8x7b-noise.Q2_K.gguf"
        begun = time.monotonic()
        write(path)
        print(f"file: {memory.shown(path.stat().st_size)}, written in {time.monotonic() - begun:.0f} s", flush=True)
        needs = needs_of(path, weights.check_model(path), CONTEXT, 1)
        print(
            f"estimate: {memory.shown(needs.bytes)}, of it weights {memory.shown(needs.weights)}, "
            f"context {memory.shown(needs.cache)}; free now: {memory.shown(memory.available())}",
            flush=True,
        )
        begun = time.monotonic()
        with serving(path) as (process, url):
            print(f"serves after {time.monotonic() - begun:.1f} s", flush=True)
            most = 0
            with MistralClient(endpoint=url, timeout=600) as client:
                card = client.list_models().data[0]
                print(f"context: {card.max_context_length} tokens")
                times = [time.monotonic()]
                messages = [{"role": "user", "content": "Tell me all the words there are. " * 8}]
                for chunk in client.chat_stream(card.id, messages, max_tokens=24):
                    times.append(time.monotonic())
                    most = max(most, process.memory_info().rss)
                    finish = chunk.choices[0].finish_reason
                    usage = chunk.usage
            if usage is None or finish is None:
                raise SystemExit("the stream has no end")
            pace = usage.completion_tokens / (times[-1] - times[2])
            print(f"first text after {times[2] - times[0]:.1f} s for a prompt of {usage.prompt_tokens} tokens")
            print(f"{usage.completion_tokens} tokens at {pace:.2f} a second, {finish}")
            print(f"memory: {memory.shown(most)}, {most / needs.bytes - 1:+.1%} to the estimate")
    fits = most < MOST and abs(most / needs.bytes - 1) < 0.05 and card.max_context_length == CONTEXT
    print("as promised" if fits else "NOT as promised")
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
