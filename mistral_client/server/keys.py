"""The keys that a server accepts: kept as digests, and the time that a look takes tells nothing of them."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

USABLE = re.compile(r"[!-~]+")
"""What fits into a header: visible ASCII without spaces."""

SHOWN = 16
"""Hexadecimal digits of a digest that stand for its key."""


class Keys:
    """Some keys, or none: then everybody may call."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        """Raises `ValueError`, which does not show the key, for one that no header can hold."""
        digests: set[bytes] = set()
        for key in keys:
            if not USABLE.fullmatch(key):
                raise ValueError("a key is made of visible ASCII characters, without spaces")
            digests.add(hashlib.sha256(key.encode()).digest())
        self._digests = tuple(digests)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def owner(self, authorization: bytes | None) -> str | None:
        """A name for who sent this `Authorization`: empty if nobody needs a key, None if the key is not right."""
        if not self._digests:
            return ""
        scheme, _, key = (authorization or b"").partition(b" ")
        sent = hashlib.sha256(key.strip()).digest()
        # All of them are compared, so that the time does not tell which one it was.
        equal = [hmac.compare_digest(sent, digest) for digest in self._digests]
        return sent.hex()[:SHOWN] if any(equal) and scheme.lower() == b"bearer" else None
