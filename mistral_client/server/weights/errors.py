"""What goes wrong with a file of weights."""

from __future__ import annotations


class WeightsError(Exception):
    """A model file cannot be had or used. The message is one line for the user: which file, why, what to do."""
