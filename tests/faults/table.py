"""What each fault must come to, as data. The numbers are those of the table of faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mistral_client import (
    AuthenticationError,
    HTTPValidationError,
    InvalidRequestError,
    Limits,
    MistralAPIException,
    MistralAPIStatusException,
    MistralConnectionException,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
    StreamTimeout,
)

from . import server as s

CHAT = ["chat", "chat_stream"]
STREAM = ["chat_stream"]
MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One fault, and what a client that may retry once must make of it.

    fault: called with the connection and the method's name. kind: exactly this class.
    says: a regular expression that the error's text holds, or one for each method.
    retried: whether the server sees the request twice. calls: the methods that it is tried with.
    has: attributes of the error. options: of the client. subclasses: those of `kind` will do as well.
    """

    number: int
    name: str
    fault: Callable[..., object]
    kind: type[Exception]
    says: str | dict[str, str] = ""
    retried: bool = False
    calls: list[str] = field(default_factory=lambda: CHAT)
    has: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    subclasses: bool = False

    @property
    def id(self) -> str:
        return f"row{self.number}-{self.name}"


def status(number, code, kind, *, retried=False, calls=CHAT, **has):
    """An error status with the server's words."""
    fault = partial(s.says, status=f"{code} Status")
    has = {"http_status": code, "code": "3505", "type": "overloaded", **has}
    return Row(number, f"status-{code}", fault, kind, "no capacity", retried, calls, has)


def too_many(number, name, after, retry_after, date=None):
    """429 with a wish that is not to be waited for."""
    fault = partial(s.too_many, after=after, date=date)
    return Row(number, name, fault, RateLimitError, "no capacity", calls=s.CALLS, has={"retry_after": retry_after})


def redirect(number, code, location="http://elsewhere.example:8080/v1/chat"):
    fault = partial(s.redirect, status=code, location=location)
    has = {"http_status": code}
    return Row(number, f"redirect-{code}", fault, ProtocolError, "redirects to .*elsewhere.example:8080", has=has)


PARTLY = {"text": s.PART}

TABLE = [
    # --- A. connecting ---
    Row(6, "end-before-headers", s.close, MistralConnectionException, "broke", retried=True, calls=s.CALLS),
    Row(6, "end-in-the-headers", s.head_cut, MistralConnectionException, "broke", True, ["chat"]),
    Row(7, "reset-before-headers", s.reset, MistralConnectionException, "broke", retried=True),
    Row(7, "reset-in-the-headers", s.head_cut_by_a_reset, MistralConnectionException, "broke", True, ["chat"]),
    Row(9, "banner-of-ssh", s.banner_of_ssh, ProtocolError, "HTTP", calls=s.CALLS),
    Row(9, "page-without-a-head", s.page_without_a_head, ProtocolError, "HTTP"),
    Row(10, "header-of-1-mib", s.header_of_1_mib, ProtocolError, calls=s.CALLS),
    # --- B. bodies ---
    Row(11, "body-cut", s.body_cut, MistralConnectionException, "broke", retried=True, calls=s.WHOLE),
    Row(12, "reset-mid-body", s.body_reset, MistralConnectionException, "broke", True, ["chat"]),
    Row(13, "body-stalled", s.body_stalled, RequestTimeout, "in time", True, ["chat"], options={"timeout": 0.2}),
    Row(14, "slow-drip", s.body_dripping, RequestTimeout, "in time", True, ["chat"], options={"timeout": 0.4}),
    Row(15, "no-answer", s.stall, RequestTimeout, "in time", retried=True, options={"timeout": 0.2}),
    Row(16, "json-truncated", s.json_truncated, ProtocolError, "JSON", calls=s.CALLS),
    Row(17, "html", s.html_for_an_answer, ProtocolError, "text/html.*Log in to the Wi-Fi", calls=s.CALLS),
    Row(18, "body-empty", s.body_empty, ProtocolError, calls=s.CALLS),
    Row(19, "status-204", s.status_204, ProtocolError, calls=s.CALLS),
    Row(20, "json-null", s.json_null, ProtocolError, "object", calls=s.CALLS),
    Row(21, "json-list", s.json_list, ProtocolError, "object", calls=s.CALLS),
    Row(
        22,
        "json-empty-object",
        s.json_empty_object,
        ProtocolError,
        {"chat": "choices", "chat_stream": "choices", "embeddings": "data", "list_models": "data"},
        calls=s.CALLS,
    ),
    Row(23, "error-under-200", s.error_under_200, MistralAPIException, "^no capacity", calls=s.CALLS,
        has={"message": "no capacity", "code": "3505"}, subclasses=True),
    Row(24, "html-of-a-gateway", s.gateway_in_html, ServerError, "^502 Bad Gateway nginx", True,
        has={"http_status": 502}),
    Row(25, "invalid-utf8", s.invalid_utf8, ProtocolError, calls=s.WHOLE),
    Row(26, "nan", s.json_nan, ProtocolError, "NaN", calls=s.CALLS),
    Row(26, "infinity", s.json_infinity, ProtocolError, "Infinity"),
    Row(27, "lone-surrogate", s.json_lone_surrogate, ProtocolError, "JSON", calls=s.CALLS),
    Row(28, "integer-of-5000-digits", s.json_integer_of_5000_digits, ProtocolError, calls=s.CALLS),
    Row(29, "deep-json", s.json_too_deep, ProtocolError, calls=s.CALLS),
    # The same once the head of a stream has come. Nothing was given out yet, so it is asked for again.
    *(
        Row(number, f"stream-{name}", fault, kind, says, True, STREAM, {"text": ""}, options)
        for number, name, fault, kind, says, options in [
            (11, "cut", s.body_cut, StreamInterrupted, "broke", {}),
            (12, "reset", s.body_reset, StreamInterrupted, "broke", {}),
            (13, "stalled", s.body_stalled, StreamTimeout, "in time", {"timeout": 0.2}),
            (14, "slow-drip", s.body_dripping, StreamTimeout, "in time", {"timeout": 0.4}),
        ]
    ),
    # --- C. statuses ---
    too_many(36, "retry-after-a-day", "86400", 86400),
    too_many(37, "retry-after-999999999", "999999999", 999999999),
    too_many(39, "retry-after-the-year-9999", "Fri, 31 Dec 9999 23:59:59 GMT", 365 * 24 * 3600,
             date="Thu, 31 Dec 9998 23:59:59 GMT"),
    status(41, 408, MistralAPIStatusException, retried=True),
    *(
        Row(41, f"conflict-{code or 'without-a-code'}", partial(s.conflict, code=code), MistralAPIStatusException,
            "no capacity", retried, [call], {"http_status": 409})
        for code, retried, call in [(None, True, "chat"), ("lock_timeout", True, "chat_stream"),
                                    ("request_in_progress", True, "embeddings"), ("duplicate_name", False, "chat")]
    ),
    status(42, 425, MistralAPIStatusException, retried=True, calls=["chat_stream"]),
    status(43, 501, ServerError, calls=s.CALLS, retryable=False),
    status(43, 505, ServerError, retryable=False),
    status(44, 520, ServerError, retried=True, calls=["chat"]),
    status(44, 529, ServerError, retried=True, calls=["chat_stream"], retryable=True),
    status(45, 400, InvalidRequestError, calls=s.CALLS, retryable=False),
    status(45, 401, AuthenticationError, calls=s.CALLS, retryable=False),
    status(45, 403, PermissionDeniedError, retryable=False),
    status(45, 404, NotFoundError, retryable=False),
    status(45, 413, InvalidRequestError, retryable=False),
    status(45, 422, HTTPValidationError, retryable=False),
    # --- D. redirects ---
    redirect(50, 307),
    redirect(50, 308),
    redirect(51, 301),
    redirect(51, 302),
    redirect(51, 303),
    # --- E. streams ---
    Row(58, "no-done", s.stream_without_done, StreamInterrupted, r"ended before \[DONE\]", calls=STREAM, has=PARTLY),
    Row(59, "cut-inside-an-event", s.stream_cut_inside_an_event, StreamInterrupted, calls=STREAM, has=PARTLY),
    Row(60, "cut-between-events", s.stream_cut_between_events, StreamInterrupted, calls=STREAM, has=PARTLY),
    Row(61, "no-last-chunk", s.stream_without_a_last_chunk, StreamInterrupted, "broke", calls=STREAM, has=PARTLY),
    Row(62, "reset", s.stream_reset, StreamInterrupted, "broke", calls=STREAM, has=PARTLY),
    Row(63, "reset-before-its-first-event", s.stream_reset_before_its_first_event, StreamInterrupted, "broke",
        retried=True, calls=STREAM),
    Row(64, "stalled", s.stream_stalled, StreamTimeout, calls=STREAM, has=PARTLY, options={"timeout": 0.2}),
    Row(65, "comments-for-ever", s.stream_of_comments, StreamTimeout, calls=STREAM, has=PARTLY,
        options={"timeout": 0.2}),
    Row(66, "event-truncated", s.event_truncated, ProtocolError, "JSON", calls=STREAM, has=PARTLY),
    *(
        Row(number, name, fault, ServerError, "^no capacity", calls=STREAM, has={**PARTLY, "message": "no capacity"})
        for number, name, fault in [
            (67, "error-in-data", s.error_object_in_data),
            (68, "error-event-of-json", s.error_event_of_json),
            (69, "error-event-of-words", s.error_event_of_words),
            (70, "error-object-like-vllm", s.error_object_like_vllm),
        ]
    ),
    Row(72, "almost-done", s.almost_done, ProtocolError, calls=STREAM, has={"text": s.TEXT, "finish_reason": "stop",
        "usage": s.USAGE}),
    Row(78, "html", s.html_for_an_answer, ProtocolError, "text/event-stream.*text/html.*Log in", calls=STREAM),
    Row(78, "json", s.json_for_a_stream, ProtocolError, "text/event-stream.*application/json", calls=STREAM),
    Row(79, "empty", s.stream_empty, StreamInterrupted, "before", retried=True, calls=STREAM, has={"text": ""}),
    Row(80, "endless-line", s.line_of_100_mib, ProtocolError, "more than 1048576 bytes", calls=STREAM, has=PARTLY,
        options={"limits": Limits(event=MIB)}),
    *(
        Row(81, name, fault, ProtocolError, "out of order", calls=STREAM, has=has)
        for name, fault, has in [
            ("chunk-after-the-finish", s.chunk_after_the_finish, {"text": "Camembert", "finish_reason": "stop"}),
            ("event-twice", s.event_twice, PARTLY),
            ("events-out-of-order", s.events_out_of_order, PARTLY),
            ("chunk-twice", s.chunk_twice, PARTLY),
        ]
    ),
]  # fmt: skip
