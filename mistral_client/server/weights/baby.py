"""The baby Mixtral: all of Mixtral's parts, so small that a test can make it, and random.

Two layers, hidden size 64, eight experts and two per token, in the same float32 weights as a GGUF file and as a
safetensors checkpoint: two engines given one each must compute the same. It speaks no language, and answers mostly in
printable pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .tokenizer_json import tokenizer_json

if TYPE_CHECKING:
    import numpy as np

    Weights = dict[str, np.ndarray[Any, np.dtype[np.float32]]]

LAYERS = 2
HIDDEN = 64
HEADS = 4
KEY_VALUE_HEADS = 2
HEAD = HIDDEN // HEADS
FEED_FORWARD = 128
EXPERTS = 8
EXPERTS_USED = 2
ROPE_BASE = 1e6
NORM_EPSILON = 1e-5

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
"""That of Mixtral-8x7B-Instruct-v0.1."""

_WORDS = """
the of and to in is that it was for on are as with his they at be this have from or one had by but not what all
were we when your can said there use an each which she do how their if will up other about out many then them
these so some her would make like him into time has look two more write go see number no way could people my than
first water been call who its now find long down day did get come made may part hello world name answer yes INST
"""
"""A hundred common words of English, each with all its beginnings, so that a tokenizer has merges to do."""

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def vocabulary() -> list[tuple[str, float, int]]:
    """Return each token of the baby in order of its id: text, score, and llama.cpp's token type.

    SentencePiece as Mixtral uses it: `<unk>`, `<s>` and `</s>` are 0, 1 and 2, then come the 256 byte tokens.
    """
    tokens = [("<unk>", 0.0, _UNKNOWN), ("<s>", 0.0, _CONTROL), ("</s>", 0.0, _CONTROL)]
    tokens += [(f"<0x{byte:02X}>", 0.0, _BYTE) for byte in range(256)]
    pieces = ["▁", *(chr(code) for code in range(0x21, 0x7F))]
    for word in _WORDS.split():
        pieces += [("▁" + word)[:end] for end in range(2, len(word) + 2)]
    return tokens + [(piece, -float(rank), _NORMAL) for rank, piece in enumerate(dict.fromkeys(pieces))]


def write_gguf(path: Path, seed: int = 0, context: int = 2048) -> Path:
    """Write the baby as a GGUF file, and return its path."""
    import gguf  # noqa: PLC0415

    tokens = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Baby Mixtral")
    writer.add_description("Random weights for tests.")
    writer.add_block_count(LAYERS)
    writer.add_context_length(context)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(EXPERTS_USED)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, weight in _as_llama_cpp(_weights(seed)):
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_safetensors(folder: Path, seed: int = 0, context: int = 2048) -> Path:
    """Write the baby as a checkpoint of Transformers, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["MixtralForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": HEAD,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": context,
        "model_type": "mixtral",
        "num_attention_heads": HEADS,
        "num_experts_per_tok": EXPERTS_USED,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "num_local_experts": EXPERTS,
        "output_router_logits": False,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROPE_BASE,
        "router_aux_loss_coef": 0.02,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": len(vocabulary()),
    }
    tokens = vocabulary()
    tokenizer = tokenizer_json(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": [text for text, _, _ in tokens],
            "tokenizer.ggml.scores": [score for _, score, _ in tokens],
            "tokenizer.ggml.token_type": [kind for _, _, kind in tokens],
        }
    )
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    for name, content in {
        "config.json": config,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": tokenizer_config,
    }.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _write_safetensors_file(folder / "model.safetensors", _weights(seed))
    return folder


def _weights(seed: int) -> Weights:
    """All weights under their names in Transformers, drawn in the order of the names here."""
    import numpy as np  # noqa: PLC0415

    random = np.random.default_rng(seed)
    tokens = vocabulary()

    def matrix(rows: int, columns: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        # Scaled so that sizes stay about 1 from layer to layer and the logits differ clearly.
        values: np.ndarray[Any, np.dtype[np.float64]] = random.standard_normal((rows, columns)) / columns**0.5
        return values.astype(np.float32)

    def norm() -> np.ndarray[Any, np.dtype[np.float32]]:
        values: np.ndarray[Any, np.dtype[np.float64]] = 1.0 + 0.1 * random.standard_normal(HIDDEN)
        return values.astype(np.float32)

    weights: Weights = {"model.embed_tokens.weight": matrix(len(tokens), HIDDEN) * np.float32(8.0)}
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        weights[f"{name}.input_layernorm.weight"] = norm()
        weights[f"{name}.self_attn.q_proj.weight"] = matrix(HEADS * HEAD, HIDDEN)
        weights[f"{name}.self_attn.k_proj.weight"] = matrix(KEY_VALUE_HEADS * HEAD, HIDDEN)
        weights[f"{name}.self_attn.v_proj.weight"] = matrix(KEY_VALUE_HEADS * HEAD, HIDDEN)
        weights[f"{name}.self_attn.o_proj.weight"] = matrix(HIDDEN, HEADS * HEAD)
        weights[f"{name}.post_attention_layernorm.weight"] = norm()
        weights[f"{name}.block_sparse_moe.gate.weight"] = matrix(EXPERTS, HIDDEN)
        for expert in range(EXPERTS):
            weights[f"{name}.block_sparse_moe.experts.{expert}.w1.weight"] = matrix(FEED_FORWARD, HIDDEN)
            weights[f"{name}.block_sparse_moe.experts.{expert}.w2.weight"] = matrix(HIDDEN, FEED_FORWARD)
            weights[f"{name}.block_sparse_moe.experts.{expert}.w3.weight"] = matrix(FEED_FORWARD, HIDDEN)
    weights["model.norm.weight"] = norm()
    weights["lm_head.weight"] = matrix(len(tokens), HIDDEN)

    # Lone bytes make no text, and random weights would choose one every other token. So the first number of the hidden
    # state, which every embedding sets and no layer writes, speaks against all but normal pieces.
    weights["model.embed_tokens.weight"][:, 0] = 4.0
    weights["lm_head.weight"][:, 0] = [0.0 if kind == _NORMAL else -6.0 for _, _, kind in tokens]
    for name, weight in weights.items():
        if name.endswith(("o_proj.weight", "w2.weight")):
            weight[0] = 0.0
    return weights


def _as_llama_cpp(weights: Weights) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The same weights under llama.cpp's names and in its layout, as its `convert_hf_to_gguf.py` makes them."""
    import numpy as np  # noqa: PLC0415

    yield "token_embd.weight", weights["model.embed_tokens.weight"]
    for layer in range(LAYERS):
        old, new = f"model.layers.{layer}", f"blk.{layer}"
        yield f"{new}.attn_norm.weight", weights[f"{old}.input_layernorm.weight"]
        yield f"{new}.attn_q.weight", _interleaved(weights[f"{old}.self_attn.q_proj.weight"], HEADS)
        yield f"{new}.attn_k.weight", _interleaved(weights[f"{old}.self_attn.k_proj.weight"], KEY_VALUE_HEADS)
        yield f"{new}.attn_v.weight", weights[f"{old}.self_attn.v_proj.weight"]
        yield f"{new}.attn_output.weight", weights[f"{old}.self_attn.o_proj.weight"]
        yield f"{new}.ffn_norm.weight", weights[f"{old}.post_attention_layernorm.weight"]
        yield f"{new}.ffn_gate_inp.weight", weights[f"{old}.block_sparse_moe.gate.weight"]
        for part, number in (("gate", 1), ("down", 2), ("up", 3)):
            names = [f"{old}.block_sparse_moe.experts.{expert}.w{number}.weight" for expert in range(EXPERTS)]
            yield f"{new}.ffn_{part}_exps.weight", np.stack([weights[name] for name in names])
    yield "output_norm.weight", weights["model.norm.weight"]
    yield "output.weight", weights["lm_head.weight"]


def _interleaved(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rotary pairs side by side, as llama.cpp turns them for a Llama; Transformers keeps each head's halves apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _write_safetensors_file(path: Path, weights: Weights) -> None:
    """Length of the header, header in JSON, data. https://huggingface.co/docs/safetensors, without the package."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, weight in weights.items():
        start, end = end, end + weight.nbytes
        header[name] = {"dtype": "F32", "shape": list(weight.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for weight in weights.values():
            file.write(weight.astype("<f4").tobytes())
