"""The tokenizer of a GGUF file in the form that Hugging Face's libraries read, `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import WeightsError

_UNKNOWN, _CONTROL, _BYTE = 2, 3, 6
_SPACE = "▁"


def tokenizer_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Build `tokenizer.json` from the vocabulary in a GGUF file's metadata.

    Raises `WeightsError` for a vocabulary that is neither SentencePiece's, as Mixtral's is, nor the default model's.
    """
    kind, split = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    if kind == "llama":
        parts = _sentencepiece(tokens, metadata["tokenizer.ggml.scores"], metadata["tokenizer.ggml.token_type"])
    elif kind == "gpt2" and split == "smollm":
        parts = _byte_level(tokens, metadata["tokenizer.ggml.merges"])
    else:
        raise WeightsError(f"a vocabulary of the kind {kind} ({split}) cannot be written as tokenizer.json")
    special = [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index, token in enumerate(tokens)
        if metadata["tokenizer.ggml.token_type"][index] in {_CONTROL, _UNKNOWN}
    ]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, **parts}


def _byte_level(tokens: Sequence[str], merges: Sequence[str]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": _bpe(tokens, [merge.split(" ") for merge in merges], unknown=None),
    }


def _sentencepiece(tokens: Sequence[str], scores: Sequence[float], kinds: Sequence[int]) -> dict[str, Any]:
    # No text becomes a control token or the token of a byte, whatever it spells.
    known = {token: index for index, token in enumerate(tokens) if kinds[index] not in {_UNKNOWN, _CONTROL, _BYTE}}
    # SentencePiece joins what makes the best piece; so each way to a piece is a merge, best pieces first.
    pairs = [
        (-scores[index], known[token[:cut]], known[token[cut:]], [token[:cut], token[cut:]])
        for token, index in known.items()
        for cut in range(1, len(token))
        if token[:cut] in known and token[cut:] in known
    ]
    merges = [pair for *_, pair in sorted(pairs)]
    return {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": _SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": _bpe(tokens, merges, unknown="<unk>"),
    }


def _bpe(tokens: Sequence[str], merges: Sequence[Sequence[str]], unknown: str | None) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": unknown is not None,
        "byte_fallback": unknown is not None,
        "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": list(merges),
    }
