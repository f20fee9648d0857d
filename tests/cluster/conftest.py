"""The fixtures of `two_nodes`, where Ray is there: `make cluster` runs these tests in an environment that has it."""

from importlib.util import find_spec

if find_spec("ray") is not None:
    from .two_nodes import cluster, deployed  # noqa: F401
