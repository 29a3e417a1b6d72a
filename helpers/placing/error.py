"""The error of a placement."""

from __future__ import annotations


class PlacementError(RuntimeError):
    """A model cannot be placed as asked; the message says why and what to change. Nothing was loaded."""
