"""Server-sent events, without I/O: bytes in, events out, and back.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

The decoder works on bytes until a line is whole, so a cut inside a UTF-8 sequence or between CR and LF needs no thought
further down. Each byte is looked at once: pieces of an unfinished line wait in a list and are joined when it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "
_new = tuple.__new__


class EventTooLong(ValueError):
    """A line or an event is longer than the decoder's limit; a peer that never ends a line must not fill the memory."""


class Event(NamedTuple):
    """One dispatched event. `data` is text whose bytes were decoded as UTF-8, broken sequences as U+FFFD.

    id: given with this very event; None where the last one still holds.
    """

    data: str
    type: str = "message"
    id: str | None = None


class EventDecoder:
    """Feed it the bytes of one event stream, however they were cut.

    An event comes out with the last byte that completes it. Only an event that was ended by a blank line counts, as the
    standard says.

    limit: the most bytes that an unfinished event may hold, None for any. `feed` raises `EventTooLong` beyond it.
    last_event_id, retry: as the standard defines them; retry in milliseconds, None until the server names one.
    """

    def __init__(self, limit: int | None = 32 * 1024 * 1024) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._limit = limit
        self._held = 0
        self._line = bytearray()
        self._after_cr = False
        self._at_start = True
        self._data: bytes | bytearray = b""
        self._type = b""
        self._id: bytes | None = None

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that these bytes complete. Iterate it to its end before the next call."""
        if b"\r" in data or self._after_cr:
            yield from self._feed(data)
            return
        if not self._is_between_events():
            begun, end, data = data.partition(b"\n\n")
            yield from self._feed(begun + end)
        # Most events are one line of data, and most lines end so: those need no look at each line.
        *whole, rest = data.split(b"\n\n")
        for lines in whole:
            if lines.startswith(_DATA) and b"\n" not in lines and (self._limit is None or len(lines) <= self._limit):
                # What `Event` does, in half the time.
                yield _new(Event, (lines[len(_DATA) :].decode("utf-8", "replace"), "message", None))
            else:
                yield from self._feed(lines + b"\n\n")
        yield from self._feed(rest)

    def _is_between_events(self) -> bool:
        return not (self._at_start or self._held or self._line or self._data or self._type or self._id is not None)

    def _feed(self, data: bytes) -> Iterator[Event]:
        """The same, line by line, whatever the lines are and however they end."""
        for line in self._lines(data):
            if not line:
                event = self._dispatch()
                if event is not None:
                    yield event
            else:
                self._interpret(line)

    def _lines(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        if self._after_cr:
            # The LF of a CRLF that was cut in two; the CR has already ended the line.
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        # bytes.splitlines cuts at CR, LF and CRLF and nowhere else, which is the standard's own rule.
        for piece in data.splitlines(keepends=True):
            line = piece.rstrip(b"\r\n")
            self._hold(len(line))
            if len(line) == len(piece):
                self._line += piece
                return
            if self._line:
                self._line += line
                line = bytes(self._line)
                self._line.clear()
            if self._at_start:
                self._at_start = False
                line = line.removeprefix(_BOM)
            yield line

    def _hold(self, size: int) -> None:
        self._held += size
        if self._limit is not None and self._held > self._limit:
            raise EventTooLong(f"an event of more than {self._limit} bytes")

    def _interpret(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            # One line is an event's usual length; more of them are gathered in place.
            if not self._data:
                self._data = value + b"\n"
            else:
                if isinstance(self._data, bytes):
                    self._data = bytearray(self._data)
                self._data += value
                self._data += b"\n"
            return
        if field == b"event":
            self._type = value
        elif field == b"id" and b"\0" not in value:
            self._id = value
        else:
            # Comments and the like hold nothing back, and do not count towards an event's size.
            self._held -= len(line)
            if field == b"retry" and value.isdigit() and len(value) < 16:
                self.retry = int(value)

    def _dispatch(self) -> Event | None:
        lines, kind, given = self._data, self._type, None
        self._held, self._data, self._type = 0, b"", b""
        if self._id is not None:
            self.last_event_id = given = self._id.decode("utf-8", "replace")
            self._id = None
        if not lines:
            return None
        return Event(lines.decode("utf-8", "replace")[:-1], kind.decode("utf-8", "replace") or "message", given)


def encode_event(data: str, type: str = "") -> bytes:
    """The bytes of one event; a decoder gives the same data and type back, line ends as LF."""
    if "\n" in type or "\r" in type:
        raise ValueError("an event's type is one line")
    head = f"event: {type}\n" if type else ""
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return (head + "".join(f"data: {line}\n" for line in lines) + "\n").encode()


def encode_comment(text: str = "") -> bytes:
    """The bytes of a comment, which keeps a connection alive and carries nothing."""
    return f": {text}\n\n".encode()
