"""A vocabulary of `tokenizer.json`: texts to token ids by way of the package `tokenizers`, and token ids to bytes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mistral_client.server.engine import EngineError, Part
from mistral_client.server.weights import is_control

_SPACE = "▁"
"""How SentencePiece writes a space."""


class Vocabulary:
    """Reads and writes the tokens of a model.

    tokenizer: `tokenizer.json`, of the kind BPE, as `check_checkpoint` gives it.

    Raises `EngineError` for one that cannot be used.
    """

    def __init__(self, tokenizer: Mapping[str, Any]) -> None:
        added = tokenizer["added_tokens"]
        self._control = {token["content"]: token["id"] for token in added if is_control(token)}
        # What is special is told apart by its id alone: in plain text it is plain text. Where special tokens are part
        # of the model's own vocabulary, merges may lead to them, from which they are taken.
        marked = [{**token, "special": bool(is_control(token))} for token in added]
        model = {**tokenizer["model"], "merges": list(self._merges(tokenizer["model"].get("merges", [])))}
        # What would cut a text, fill it up or put tokens around it is no part of ours.
        text = {**tokenizer, "added_tokens": marked, "model": model, "truncation": None, "padding": None}
        self._tokenizer = _built(json.dumps({**text, "post_processor": None}))
        self._tokenizer.encode_special_tokens = True
        unknown = tokenizer["model"].get("unk_token")
        self._never = {token for name, token in self._control.items() if name != unknown}
        self._bytes = dict(_bytes_of_tokens(tokenizer))
        names = [*tokenizer["model"]["vocab"], *(token["content"] for token in added)]
        self.longest = max(map(len, names)) if _keeps_length(tokenizer.get("normalizer")) else sys.maxsize
        """Characters that one token stands for at most."""

    def token_id(self, token: str) -> int | None:
        """The id of a control token."""
        return self._control.get(token)

    def is_control(self, token: int) -> bool:
        """Whether this is the id of a control token."""
        return token in self._never

    def tokenize(self, parts: Sequence[Part]) -> list[int]:
        """The token ids of a prompt, each text encoded on its own. Raises `EngineError`."""
        ids: list[int] = []
        for part in parts:
            ids += [part] if isinstance(part, int) else self._encoded(part)
        return ids

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for, which need not be whole characters."""
        return self._bytes.get(token, b"")

    def _encoded(self, text: str) -> list[int]:
        if not text:
            return []
        # The one way into the package that lets other threads run; for long texts that is seconds.
        (encoding,) = _guarded(lambda: self._tokenizer.encode_batch_fast([text], add_special_tokens=False))
        ids: list[int] = encoding.ids
        if not self._never.isdisjoint(ids):
            raise EngineError("the model's tokenizer takes plain text for a control token")
        return ids

    def _merges(self, merges: Sequence[Any]) -> Iterator[Any]:
        for merge in merges:
            pair = merge.split(" ") if isinstance(merge, str) else map(str, merge)
            if "".join(pair) not in self._control:
                yield merge


def _built(text: str) -> Any:
    import tokenizers  # noqa: PLC0415, of an extra

    return _guarded(lambda: tokenizers.Tokenizer.from_str(text))


def _guarded(call: Any) -> Any:
    """Whatever goes wrong in the package as `EngineError`: it raises bare exceptions and, in its panics, more than
    those.
    """
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise EngineError(f"the model's tokenizer cannot be used: {error}") from error


def _bytes_of_tokens(tokenizer: Mapping[str, Any]) -> Iterator[tuple[int, bytes]]:
    vocabulary: Mapping[str, int] = tokenizer["model"]["vocab"]
    if "ByteLevel" in _types(tokenizer.get("decoder")):
        table = _byte_level()
        for name, token in vocabulary.items():
            yield token, b"".join(table.get(character) or _utf8(character) for character in name)
    elif tokenizer["model"].get("byte_fallback"):
        for name, token in vocabulary.items():
            is_byte = len(name) == 6 and name.startswith("<0x") and name.endswith(">")
            yield token, bytes.fromhex(name[3:5]) if is_byte else _utf8(name.replace(_SPACE, " "))
    else:
        raise EngineError("the model's tokenizer writes neither bytes nor pieces of SentencePiece, which alone is read")
    for token in tokenizer["added_tokens"]:
        yield token["id"], _utf8(token["content"])


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _types(step: Any) -> list[str]:
    """The types of a step of the tokenizer, and of those that it is made of."""
    if isinstance(step, list):
        return [name for part in step for name in _types(part)]
    if not isinstance(step, dict):
        return []
    return [str(step.get("type")), *_types(step.get("decoders")), *_types(step.get("normalizers"))]


def _keeps_length(normalizer: Any) -> bool:
    """Whether a text is not shorter after it."""
    return {"Sequence", "Prepend", "Replace"}.issuperset(_types(normalizer))


def _byte_level() -> dict[str, bytes]:
    """The characters that stand for bytes since GPT-2: those that are seen stand for themselves, others are moved."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): bytes([byte]) for byte in seen}
    moved = [byte for byte in range(256) if byte not in seen]
    return table | {chr(256 + number): bytes([byte]) for number, byte in enumerate(moved)}
