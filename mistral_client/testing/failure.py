"""Answers that say no, and connections that break before there is one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from mistral_client.exceptions import ArgumentError
from mistral_client.server import errors

from .answer import Answer, Break
from .request import Request

_KNOWN = {error.status: error for error in (errors.rate_limited(1), errors.internal(), errors.closing())}


@dataclass(frozen=True)
class Failure:
    """how: a status, or how the connection ends. html: a page, as proxies and portals send it, in place of JSON."""

    how: int | Literal["cut", "reset"]
    retry_after: float | None = None
    message: str | None = None
    type: str | None = None
    code: str | None = None
    html: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.how, str):
            if self.how not in {each.value for each in Break}:
                raise ArgumentError(f"fail: {self.how!r} is neither a status nor 'cut' or 'reset'")
        elif not (400 <= self.how <= 599 or (self.html is not None and 200 <= self.how <= 299)):
            raise ArgumentError(f"fail: {self.how} is no status of a failure, from 400 to 599, or 200 to 299 with html")
        if self.retry_after is not None and not self.retry_after >= 0:
            raise ArgumentError(f"retry_after: {self.retry_after!r} is not a number of seconds")

    def answers(self, _request: Request) -> bool:
        return True

    def answer(self, _request: Request) -> Answer | Break:
        if isinstance(self.how, str):
            return Break(self.how)
        headers = {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        if self.html is not None:
            return Answer(self.html.encode(), self.how, "text/html; charset=utf-8", headers)
        return Answer(json.dumps(self._body(self.how)).encode(), self.how, headers=headers)

    def _body(self, status: int) -> Any:
        given = {"message": self.message, "type": self.type, "code": self.code}
        said = {name: value for name, value in given.items() if value is not None}
        if status == 401 and not said:
            return {"detail": "Unauthorized"}
        phrase = next((known.phrase for known in HTTPStatus if known == status), "Error")
        plain = errors.WireError(status, phrase.lower().replace(" ", "_"), None, phrase)
        return _KNOWN.get(status, plain).body | said

    def __str__(self) -> str:
        return f"fail({self.how!r})"
