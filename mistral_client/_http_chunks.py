"""HTTP's own chunks, joined where they arrive together: a server sends each event in one, and h11 takes longer for a
chunk than all the rest of us for the event in it.
"""

from __future__ import annotations

import re

_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")
"""Of a chunk, where it is plain; h11 judges longer ones."""
_BEGUN = re.compile(rb"[0-9a-fA-F]{1,8}\r?")


class ChunkJoiner:
    """Feed it the bytes of one response as they are read; it gives the bytes of the same response in fewer chunks.

    Bytes are held back only where they are the beginning of a chunk's size. Whatever is not as simple as most responses
    are goes through as it is, and so does what is wrong: it is h11 that reads HTTP.
    """

    def __init__(self) -> None:
        self._at_head = True
        self._joins = True
        self._held = b""
        self._unfinished = 0

    def feed(self, data: bytes) -> bytes:
        """What these bytes come to; empty where they only begin something."""
        if not self._joins:
            return data
        if not self._at_head:
            return self._join(data)
        self._at_head = False
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or not data.startswith(b"HTTP/1.1 200") or not _CHUNKED.search(data, 0, end - 2):
            self._joins = False
            return data
        return data[:end] + self._join(data[end:])

    def _join(self, data: bytes) -> bytes:
        data, self._held = self._held + data, b""
        begin = at = min(self._unfinished, len(data))
        self._unfinished -= begin
        contents = []
        while at < len(data):
            size = _SIZE.match(data, at)
            if size is None:
                if _BEGUN.fullmatch(data, at):
                    data, self._held = data[:at], data[at:]
                else:
                    self._joins = False
                break
            start = size.end()
            end = start + int(size[1], 16)
            follows = data[end : end + 2]
            if end > start and follows == b"\r\n":
                contents.append(data[start:end])
                at = end + 2
            elif end > start and follows in (b"", b"\r"):
                self._unfinished = end + 2 - len(data)
                break
            else:
                self._joins = False  # the last chunk, or one that does not end where it should
                break
        if len(contents) < 2:
            return data
        content = b"".join(contents)
        return b"%b%x\r\n%b\r\n%b" % (data[:begin], len(content), content, data[at:])
