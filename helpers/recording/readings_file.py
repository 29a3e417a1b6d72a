"""What the opt-in zooms read, in the file of a recording: only in files of recordings that have it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..events import VALUE_COLUMNS, VALUE_FLOATS, VALUE_STATUSES
from . import file_checks as checks
from .rows import SampleRow

if TYPE_CHECKING:
    from .recording import Recording


def document(recording: Recording) -> dict:
    """The parts of the document that tell of values, as plain JSON values; a float that there is not is null."""
    parts: dict = {}
    if recording.samples:
        parts["samples"] = {name: [getattr(row, name) for row in recording.samples] for name in SampleRow._fields}
    if len(recording.value_rows["event"]):
        rows = {name: values.tolist() for name, values in recording.value_rows.items()}
        for name in VALUE_FLOATS:
            rows[name] = [value if math.isfinite(value) else None for value in rows[name]]
        rows["event"] = np.diff(recording.value_rows["event"], prepend=0).tolist()
        parts["value_rows"] = rows
    return parts


def sample_rows(content: dict) -> list[SampleRow]:
    """The stages of sampling in a document. Raises KeyError, ValueError or TypeError when they are damaged."""
    return checks.rows(SampleRow, content["samples"]) if "samples" in content else []


def value_rows(content: dict) -> dict[str, np.ndarray]:
    """The value rows in a document. Raises ValueError or TypeError when they are damaged."""
    packed = checks.a_dict(content.get("value_rows", {name: [] for name in VALUE_COLUMNS}))
    columns = {
        name: (_floats if name in VALUE_FLOATS else checks.integers)(name, packed[name]) for name in VALUE_COLUMNS
    }
    if len({len(values) for values in columns.values()}) > 1:
        raise ValueError("value columns of different lengths")
    columns["event"] = np.cumsum(columns["event"])
    return columns


def _floats(name: str, values: object) -> np.ndarray:
    if not all(value is None or type(value) in (float, int) for value in checks.a_list(values)):
        raise ValueError(f"value column {name!r} holds something else than numbers")
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def check(recording: Recording) -> None:
    """Every value row is of an output that there is. Raises ValueError."""
    rows, outputs = recording.value_rows, recording.events["outputs"]
    if not len(rows["event"]):
        return
    checks.within(rows, event=(0, len(recording)), status=(0, len(VALUE_STATUSES)))
    lengths = np.array([len(tensors) for tensors in recording.tensor_lists])
    if (rows["output"] < 0).any() or (rows["output"] >= lengths[outputs[rows["event"]]]).any():
        raise ValueError("a value row is of an output that its call does not have")
    if (recording.events["path"][rows["event"]] < 0).any():
        raise ValueError("a value row is of a call that is no module call")
