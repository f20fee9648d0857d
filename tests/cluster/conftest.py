"""What `make cluster` runs, in an environment that has Ray; elsewhere there is nothing to collect here."""

from importlib.util import find_spec

if find_spec("ray") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from .two_nodes import cluster, deployed  # noqa: F401
