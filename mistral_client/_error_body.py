"""An error answer as an exception: finds the server's own words in every shape of error body that is seen. No I/O.

Mistral has four shapes, servers that speak its wire have more, and proxies on the way answer in HTML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from . import exceptions as e
from ._retry import retry_after
from .constants import RETRY_STATUS_CODES

_SHOWN = 500  # characters of a message
_KEPT = 10_000  # characters of a body
_CONFLICT = 409
# Codes of a conflict that ends by itself; one such as "already_exists" does not.
_PASSING = re.compile(r"(?i)lock|time_?-?out|progress|concurren|in_?use|busy")
_REQUEST_ID_HEADERS = ("mistral-correlation-id", "x-request-id", "x-kong-request-id")
_KINDS: dict[int, type[e.MistralAPIException]] = {
    401: e.AuthenticationError,
    403: e.PermissionDeniedError,
    404: e.NotFoundError,
    422: e.HTTPValidationError,
    429: e.RateLimitError,
}


def api_error(status: int, headers: Mapping[str, str], content: bytes) -> e.MistralAPIException:
    """The exception for an answer whose status, or whose body, says that the call failed."""
    text = content[: 64 * 1024].decode("utf-8", "replace")
    body = _parsed(text)
    kind = _KINDS.get(status) or _kind_of_class(status)
    if 300 <= status < 400:
        message = f"the server redirects to {headers.get('location', 'nowhere')!r}, which is not followed"
    else:
        message = _message(body) or _plain(text) or f"the server answered {status} and gave no reason"
    details = _details(body)
    error = kind(
        message[:_SHOWN],
        status,
        headers,
        body=text[:_KEPT],
        code=_word(details.get("code")),
        type=_word(details.get("type")),
        request_id=_word(details.get("request_id")) or request_id(headers),
        retry_after=retry_after(headers),
    )
    if isinstance(error, e.ServerError):
        error.retryable = status in RETRY_STATUS_CODES
    elif status == _CONFLICT:
        error.retryable = error.code is None or _PASSING.search(error.code) is not None
    return error


def is_error_body(body: Any) -> bool:
    """Whether a JSON value under status 200, or in a stream, is an error all the same."""
    return isinstance(body, dict) and (bool(body.get("error")) or body.get("object") == "error")


def request_id(headers: Mapping[str, str]) -> str | None:
    """The name that the server has given to the exchange."""
    return next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), None)


def _kind_of_class(status: int) -> type[e.MistralAPIException]:
    if status >= 500:
        return e.ServerError
    if status in RETRY_STATUS_CODES:
        return e.MistralAPIStatusException
    if status >= 400:
        return e.InvalidRequestError
    return e.ProtocolError


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _details(body: Any) -> Mapping[str, Any]:
    """The object that holds type and code: the body itself, or OpenAI's nested one."""
    if not isinstance(body, dict):
        return {}
    nested = body.get("error")
    return nested if isinstance(nested, dict) else body


def _message(body: Any) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(filter(None, map(_issue, body)))
    if isinstance(body, dict):
        return next(filter(None, (_message(body.get(key)) for key in ("message", "error", "detail"))), "")
    return ""


def _issue(item: Any) -> str:
    """One entry of FastAPI's `detail` list."""
    if not isinstance(item, dict) or not isinstance(item.get("msg"), str):
        return _message(item)
    where = [str(step) for step in item.get("loc") or () if step != "body"]
    return f"{'.'.join(where)}: {item['msg']}" if where else item["msg"]


def _plain(text: str) -> str:
    """The words of an HTML page or of plain text, on one line."""
    if "<" in text:
        text = re.sub(r"(?is)<(script|style|head)\b.*?</\1>|<[^>]*>", " ", text)
    return " ".join(text.split())[:200]


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) else None
