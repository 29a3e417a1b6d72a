"""What the cells of several tables hold: texts of tensors and values, integers that may be missing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..events import NOT_OBSERVED
from ..recording.recording import Recording

MILLISECOND = 1e6  # nanoseconds


def missing(values) -> pd.array:
    """Integers with <NA> where nothing was observed."""
    array = pd.array(np.asarray(values, dtype=np.int64), dtype="Int64")
    array[np.asarray(values) == NOT_OBSERVED] = pd.NA
    return array


def tensors_text(recording: Recording, index: int) -> str:
    return ", ".join(str(recording.specs[spec]) for spec in recording.tensor_lists[index])


def values_text(recording: Recording, index: int) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in recording.value_lists[index])


def attribute_text(recording: Recording, index: int, attribute: str) -> str:
    """The distinct dtypes or devices of a list of tensors, in order."""
    found = [getattr(recording.specs[spec], attribute) for spec in recording.tensor_lists[index]]
    return ", ".join(dict.fromkeys(found))


def events_by_function(recording: Recording) -> dict[int, np.ndarray]:
    """Indexes of the events of each function (index into `functions`)."""
    functions = recording.events["function"]
    order = np.argsort(functions, kind="stable")
    values, starts = np.unique(functions[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}
