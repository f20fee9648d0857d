"""A server for tests: it answers as Mistral's API does, with what the test has scripted, and fails when told to.

    def test_the_answer_is_shown(mistral_server):
        mistral_server.fail(429, retry_after=0.1)
        mistral_server.reply("Paris.")
        assert ask("What is the capital of France?") == "Paris."

The fixture `mistral_server` comes with `pip install 'mistral-client[testing]'`. Names are imported when they are first
used: pytest loads this package in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .request import Request
    from .server import MistralServer

__all__ = ["MistralServer", "Request"]


def __getattr__(name: str) -> Any:
    if name == "MistralServer":
        from .server import MistralServer  # noqa: PLC0415

        return MistralServer
    if name == "Request":
        from .request import Request  # noqa: PLC0415

        return Request
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
