"""Requests that two parsers could read in two ways are refused, and heads without end."""

from __future__ import annotations

import re

import h11

MAX_HEAD = 32 * 2**10
"""Bytes of a request line with its header fields."""

MAX_FIELDS = 100
"""Header fields of a request."""

# LF alone, CR alone, or a line that goes on in the next one.
_LOOSE_LINE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]")
_END_OF_CHUNKS = b"\r\n\r\n"


class NotAccepted(h11.RemoteProtocolError):
    """Why a request is refused; the text shows nothing of it."""


class StrictConnection(h11.Connection):
    """h11's parser without its leniencies. `status` and `reason` say what the last request was refused for."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD)
        self.status = 400
        self.reason = "The request is not valid HTTP/1.1."
        self._chunked = False
        self._recent = b""

    def receive_data(self, data: bytes) -> None:
        """Bytes from the network."""
        self._recent = self._recent[-len(_END_OF_CHUNKS) :] + data
        super().receive_data(data)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """What the bytes mean. Raises `h11.RemoteProtocolError`."""
        head = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._look_at_head(event, head[: len(head) - len(self.trailing_data[0])])
            elif isinstance(event, h11.EndOfMessage) and self._chunked:
                self._look_at_end(event)
        except NotAccepted as error:
            self.status, self.reason = error.error_status_hint, str(error)
            raise
        except h11.RemoteProtocolError as error:
            if head and error.error_status_hint == 431:
                self.status, self.reason = 431, "The head of the request is too large."
            raise
        return event

    def _look_at_head(self, request: h11.Request, head: bytes) -> None:
        if len(head) > MAX_HEAD or len(request.headers) > MAX_FIELDS:
            raise NotAccepted("The head of the request is too large.", 431)
        if _LOOSE_LINE.search(head):
            raise NotAccepted("A line of the head does not end with CRLF, or goes on in the next line.", 400)
        names = [name for name, _ in request.headers]
        self._chunked = b"transfer-encoding" in names
        if self._chunked and (b"content-length" in names or request.http_version < b"1.1"):
            raise NotAccepted("The length of the body is said in two ways.", 400)

    def _look_at_end(self, event: h11.EndOfMessage) -> None:
        rest = len(self.trailing_data[0])
        if list(event.headers) or not self._recent[: len(self._recent) - rest].endswith(_END_OF_CHUNKS):
            raise NotAccepted("The last chunk does not end with two CRLF.", 400)
