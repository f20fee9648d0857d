"""Hooks are told: by their methods, in the thread or task of the call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from inspect import isawaitable, iscoroutinefunction

import anyio

from ._calls import AnswerT
from ._transport import logger
from ._watch import Tell, Watch
from .exceptions import ConfigurationError
from .hooks import Hooks

_MOMENTS = ("before_request", "after_attempt", "after_call")


def checked_hooks(hooks: Iterable[Hooks], *, asynchronous: bool) -> tuple[Hooks, ...]:
    """Raises `ConfigurationError` for what is no instance of `Hooks`, or awaits where nobody can."""
    given = tuple(hooks)
    for hook in given:
        if not isinstance(hook, Hooks):
            raise ConfigurationError(f"hooks: {hook!r} is not an instance of Hooks")
        for moment in ("on_chunk", *(() if asynchronous else _MOMENTS)):
            if iscoroutinefunction(getattr(hook, moment)):
                raise ConfigurationError(f"hooks: {type(hook).__name__}.{moment} is asynchronous, and cannot be here")
    return given


def tell(step: Tell) -> None:
    """Raises what `before_request` raises; other moments change nothing about a call."""
    for hook in step.hooks:
        try:
            result = getattr(hook, step.moment)(step.what)
            if isawaitable(result):
                if isinstance(result, Coroutine):
                    result.close()
                raise ConfigurationError(f"{hook!r} is asynchronous, and needs a MistralAsyncClient")
        except Exception:
            if step.moment == "before_request":
                raise
            _log(hook, step.moment)


async def atell(step: Tell) -> None:
    """The same, asynchronously. Of the end of a call that was cancelled coroutines are told as well."""
    with anyio.CancelScope(shield=step.moment == "after_call"):
        for hook in step.hooks:
            try:
                result = getattr(hook, step.moment)(step.what)
                if isawaitable(result):
                    await result
            except Exception:
                if step.moment == "before_request":
                    raise
                _log(hook, step.moment)


def chunks_told(
    watch: Watch | None, feed: Callable[[bytes], Iterator[AnswerT]]
) -> Callable[[bytes], Iterator[AnswerT]]:
    """A decoder's `feed`; where there are hooks, they are told of its chunks."""
    if watch is None:
        return feed
    noted = watch.chunks(feed)
    hooks = [hook for hook in watch.hooks if type(hook).on_chunk is not Hooks.on_chunk]

    def told(data: bytes) -> Iterator[AnswerT]:
        for chunk in noted(data):
            for hook in hooks:
                try:
                    hook.on_chunk(watch.call, chunk)
                except Exception:  # noqa: BLE001  # logged
                    _log(hook, "on_chunk")
            yield chunk

    return told if hooks else noted


def _log(hook: Hooks, moment: str) -> None:
    logger.exception("%s.%s has failed", type(hook).__name__, moment)
