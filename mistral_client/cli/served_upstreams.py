"""Which other servers a server stands in front of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mistral_client.exceptions import ConfigurationError

from .failure import Failure

if TYPE_CHECKING:
    from mistral_client.server.upstream.upstreams import Upstreams

VARIABLE = "MISTRAL_UPSTREAM_KEY"


def upstreams_of(
    urls: Sequence[str], key: str | None, dialect: str | None, aliases: Sequence[str], queue: int
) -> Upstreams:
    """aliases: NAME=MODEL each; none at all leaves the first model those of Mistral's API."""
    from mistral_client.server.upstream.dialect import DIALECTS
    from mistral_client.server.upstream.upstreams import Upstream, Upstreams

    if dialect is not None and dialect not in DIALECTS:
        raise Failure(f"--upstream-dialect {dialect} is none of {', '.join(DIALECTS)}")
    try:
        servers = [
            Upstream(url, key or os.environ.get(VARIABLE), dialect=DIALECTS[dialect] if dialect else None)
            for url in urls
        ]
    except ConfigurationError as error:
        raise Failure(f"--upstream: {error.message}") from None
    return Upstreams(servers, aliases=_named(aliases) or None, queue=queue)


def _named(aliases: Sequence[str]) -> Mapping[str, str]:
    named = {}
    for alias in aliases:
        name, separator, model = alias.partition("=")
        if not (separator and name and model):
            raise Failure(f"--alias {alias} is not NAME=MODEL")
        named[name] = model
    return named
