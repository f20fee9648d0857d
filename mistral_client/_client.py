"""What both kinds of client have in common, and needs no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, ClassVar, NoReturn, Self

import httpx

from ._config import Config, with_options
from ._retry import RetryPolicy
from ._tell import checked_hooks
from ._transport import checked
from .hooks import Hooks


class Client:
    """Base of `MistralClient` and `MistralAsyncClient`."""

    _asynchronous: ClassVar[bool]
    _no_transports: ClassVar[type[MutableMapping[Any, Any]]]
    _config: Config
    _own_transport: Callable[[], Any]
    _timeout_of_given: httpx.Timeout | None = None  # in place of the own timeout of a client of the user's

    def with_options(
        self,
        *,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        deadline: float | None = None,
        extra_headers: Mapping[str, str] | None = None,
        hooks: Iterable[Hooks] | None = None,
    ) -> Self:
        """A client with other defaults that shares the connections and the retry budget of this one.

        timeout, max_retries, deadline, hooks: in place of this client's, or None. `deadline=math.inf` is no deadline.
        extra_headers: sent with every request, beside those of a call, which go before them.

        Closing it leaves the connections open. They are closed with this client, and then neither can be used.
        Raises `ConfigurationError` for what cannot be, which includes another `Authorization`.
        """
        told = None if hooks is None else checked_hooks(hooks, asynchronous=self._asynchronous)
        config = with_options(self._config, max_retries, deadline, extra_headers, told)
        changed: dict[str, object] = {"_config": config, "_policy": RetryPolicy(config.max_retries)}
        if timeout is not None:
            changed["_timeout"] = changed["_timeout_of_given"] = checked(timeout)
        child = object.__new__(type(self))
        vars(child).update(vars(self), _transports=self._no_transports(), _shared=self._own_transport, **changed)
        return child

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} holds connections: build one in each process, or share it, but no copies"
        )

    def __repr__(self) -> str:
        config = vars(self).get("_config")  # none yet in a traceback of its construction
        return f"{type(self).__name__}(endpoint={config and config.base_url!r})"
