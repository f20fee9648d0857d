"""Failures of other servers as Mistral's errors."""

from __future__ import annotations

import logging
import math
import re

from mistral_client.exceptions import (
    AuthenticationError,
    InvalidRequestError,
    MistralException,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)

from .. import errors
from ..errors import WireError

logger = logging.getLogger("mistral_client.server")

_TOO_LONG = re.compile(r"(?i)context (length|size)|maximum context|exceed_context_size|too many tokens|longer than")


def of_upstream(error: MistralException) -> WireError:
    """What a caller is told. What is no business of theirs, such as addresses and keys, goes to the log."""
    if isinstance(error, RateLimitError):
        return errors.full(max(1, math.ceil(error.retry_after or 1)))
    if isinstance(error, InvalidRequestError):
        message = str(error.message)
        if _TOO_LONG.search(f"{message} {error.type}"):
            return WireError(400, "invalid_request_invalid_args", "3051", message)
        # vLLM's codes are the status once more.
        code = None if error.code == str(error.http_status) else error.code
        return WireError(error.http_status or 400, "invalid_request_error", code, message)
    logger.warning("upstream %s: %s", error.host, error)
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return WireError(500, "internal_server_error", "3000", "The upstream does not accept this server's key.")
    return errors.no_upstream()


def no_call() -> WireError:
    """The model had to call a tool, and the server did not hold it to that."""
    return WireError(
        500, "invalid_function_call", "3280", "The server that runs this model did not hold it to calling a tool."
    )


def is_its_fault(error: MistralException) -> bool:
    """Whether another upstream may do better; a request that is wrong is wrong everywhere."""
    return not isinstance(error, InvalidRequestError)


def is_outage(error: MistralException) -> bool:
    """Whether it speaks against the upstream: one that is full, or does not have a model, is well."""
    return is_its_fault(error) and not isinstance(error, RateLimitError | NotFoundError)
