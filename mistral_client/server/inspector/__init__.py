"""The inspector: what applications asked of the server and what became of it, on a page of its own.

Calls are kept in memory, the last of them only. With `create_app(inspector=Inspector())` the page is at `/`.
"""

from __future__ import annotations

from .calls import Inspector

__all__ = ["Inspector"]
