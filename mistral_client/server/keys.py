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

    def __init__(self, keys: Iterable[str] = (), digests: Iterable[str] = ()) -> None:
        """digests: of further keys, SHA-256 in hexadecimal.

        Raises `ValueError`, which does not show the key, for one that no header can hold, and for what is no digest.
        """
        known = {bytes.fromhex(digest) for digest in digests}
        if any(len(digest) != hashlib.sha256().digest_size for digest in known):
            raise ValueError("a digest is 64 hexadecimal digits")
        for key in keys:
            if not USABLE.fullmatch(key):
                raise ValueError("a key is made of visible ASCII characters, without spaces")
            known.add(hashlib.sha256(key.encode()).digest())
        self._digests = tuple(known)

    def __bool__(self) -> bool:
        return bool(self._digests)

    @property
    def digests(self) -> list[str]:
        """What can go where a key should not."""
        return sorted(digest.hex() for digest in self._digests)

    def owner(self, authorization: bytes | None) -> str | None:
        """A name for who sent this `Authorization`: empty if nobody needs a key, None if the key is not right."""
        if not self._digests:
            return ""
        scheme, _, key = (authorization or b"").partition(b" ")
        sent = hashlib.sha256(key.strip()).digest()
        # All of them are compared, so that the time does not tell which one it was.
        equal = [hmac.compare_digest(sent, digest) for digest in self._digests]
        return sent.hex()[:SHOWN] if any(equal) and scheme.lower() == b"bearer" else None
