from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from mistral_client import exceptions
from mistral_client.exceptions import MistralException, RateLimitError, StreamInterrupted

KINDS = [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if kind.__module__ == exceptions.__name__]


def drawn(kind, prefix=""):
    """The tree below a class as lines of a drawing, in the order of definition."""
    others = [base.__name__ for base in kind.__bases__[1:]]
    names = [name for name, value in vars(exceptions).items() if value is kind]
    yield " = ".join(names) + (f" (also {', '.join(others)})" if others else "")
    children = [child for child in kind.__subclasses__() if child in KINDS and child.__bases__[0] is kind]
    for child in children:
        last = child is children[-1]
        first, *rest = drawn(child)
        yield ("└── " if last else "├── ") + first
        for line in rest:
            yield ("    " if last else "│   ") + line


def test_the_drawing_is_the_tree():
    picture = "\n".join("    " + line for line in drawn(MistralException))
    assert picture in inspect.cleandoc("\n" + (exceptions.__doc__ or ""))


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_pickles_and_copies_whole(kind):
    error = kind(
        "slow down", 429, {"retry-after": "1"}, code="1300", type="rate_limited", request_id="r", retry_after=1.0
    )
    error.attempts, error.elapsed = 3, 1.5
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert vars(twin) == vars(error)
        assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), error.args)


def test_an_interrupted_stream_keeps_its_text_through_a_pickle():
    error = StreamInterrupted("cut").with_answer("Camem", None, {"total_tokens": 3})
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.text, twin.finish_reason, twin.usage) == ("Camem", None, {"total_tokens": 3})


def test_str_says_what_a_person_needs():
    error = RateLimitError("Rate limit exceeded", 429, code="1300", type="rate_limited", request_id="r1")
    error.attempts = 3
    assert str(error) == "Rate limit exceeded (HTTP 429, type rate_limited, code 1300, request id r1, attempts 3)"
    assert repr(error) == f"RateLimitError({str(error)!r})"
    assert str(MistralException("plain")) == "plain"


def test_the_early_clients_arguments():
    error = exceptions.MistralAPIException("message", 400, {"a": "b"})
    assert (error.message, error.http_status, error.headers) == ("message", 400, {"a": "b"})
    assert issubclass(exceptions.MistralAPIStatusException, exceptions.MistralAPIException)
    assert MistralException().message is None
