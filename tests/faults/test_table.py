"""Every fault of the table, through every kind of client and every method that can meet it."""

from __future__ import annotations

import re
import time
from functools import partial

import pytest

from ..conftest import HELLO
from .server import ANSWERS, CALLS
from .table import TABLE

KEY = "secret-KEY-0123456789"


def ask(client, call, **options):
    """The answer of one of the methods; of a stream, all of its chunks."""
    if call == "chat":
        return client.chat(HELLO, "m", **options)
    if call == "chat_stream":
        return list(client.chat_stream(HELLO, "m", **options))
    if call == "embeddings":
        return client.embeddings("m", "x", **options)
    return client.list_models(**options)


def idempotency_key(request):
    return re.search(rb"(?i)\r\nidempotency-key: *([^\r]*)", request)


def chain(error):
    """An error, and all that stands behind it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


CASES = [pytest.param(row, call, id=f"{row.id}-{call}") for row in TABLE for call in row.calls]


@pytest.mark.parametrize(("row", "call"), CASES)
def test_row(make_client, raw_server, row, call):
    server = raw_server([partial(row.fault, call=call)])
    client = make_client(KEY, server.url, 1, **row.options)
    started = time.monotonic()
    with pytest.raises(row.kind) as raised:
        ask(client, call)
    took = time.monotonic() - started
    error = raised.value

    assert type(error) is row.kind or row.subclasses
    foreign = {kind.__module__ for kind in type(error).__mro__} - {"mistral_client.exceptions", "builtins"}
    assert not foreign
    says = row.says if isinstance(row.says, str) else row.says[call]
    assert re.search(says, str(error))
    assert len(error.message) <= 500
    assert {name: getattr(error, name) for name in row.has} == row.has

    assert len(server.requests) == (2 if row.retried else 1)
    assert len({request.partition(b"\r\n\r\n")[2] for request in server.requests}) == 1
    if call != "list_models":
        assert len({idempotency_key(request)[1] for request in server.requests}) == 1
    assert error.attempts == len(server.requests)
    assert error.host == server.url.removeprefix("http://")
    assert 0 < error.elapsed <= took

    if "timeout" in row.options:
        assert took >= row.options["timeout"] * error.attempts
        assert isinstance(error, TimeoutError)
    for behind in chain(error):
        assert KEY not in f"{behind!r} {vars(behind)}"
        assert not hasattr(behind, "request"), "a request has headers, and a header has the key"


@pytest.mark.parametrize("call", CALLS)
def test_a_server_without_a_fault(make_client, raw_server, call):
    """Otherwise the table would show nothing."""
    from .server import right

    answer = ask(make_client(KEY, raw_server([partial(right, call=call)]).url, 0), call)
    if call != "chat_stream":
        assert answer.model_dump(exclude_unset=True, mode="json") == ANSWERS[call]
