"""The server on Ray Serve: `build` makes the application that `serve run` and Serve's config files name."""

from .deployment import Settings, build

__all__ = ["Settings", "build"]
