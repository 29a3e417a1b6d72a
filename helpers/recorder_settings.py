"""The settings of record(). Imports no torch, so that a command can refuse them before anything else happens."""

from __future__ import annotations

from .events import RecordingError

ZOOMS = ("landmarks", "calls", "modules", "functions", "lines", "memory", "sampling", "values")
DEFAULT_ZOOM = ("landmarks", "modules", "memory")
DEFAULT_STEPS = 4
DEFAULT_LINES = ("ckpt.resolve", "dtype.resolve", "device_map.check")
"""The functions in which a load decides: where there is no such function of its own, from_pretrained does it inline."""


def checked_zoom(zoom: tuple[str, ...], steps: int | None) -> frozenset[str]:
    """The zoom to record with: what is asked for, else the default; landmarks always, modules for values.

    Raises RecordingError for an unknown zoom, and for `steps` that are neither a number above 0 nor None (all).
    """
    if zoom and callable(zoom[0]):
        raise RecordingError("record is called before it decorates: write @record(), with parentheses.")
    unknown = [name for name in zoom if name not in ZOOMS]
    if unknown:
        raise RecordingError(f"There is no zoom {unknown[0]!r}. Choose from: {', '.join(ZOOMS)}.")
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool) or steps < 1):
        raise RecordingError(f"steps={steps!r}: give the number of steps to keep in full (1 or more), or None for all.")
    needed = {"landmarks", "modules"} if "values" in zoom else {"landmarks"}
    return frozenset(zoom or DEFAULT_ZOOM) | needed


def steps_from_text(text: str) -> int | None:
    """`text` as the setting `steps`: a number, or "all" (None). Raises RecordingError for anything else."""
    if text == "all":
        return None
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise RecordingError(f"steps={text}: give the number of steps to keep in full (1 or more), or all.")
    return int(text)
