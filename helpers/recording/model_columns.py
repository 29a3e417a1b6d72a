"""Which of several models each row of a table is of: two models have modules of one name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..events import NOT_OBSERVED

if TYPE_CHECKING:
    from .recording import Recording


def models_of_paths(recording: Recording, paths: np.ndarray) -> np.ndarray:
    """The number of the model of each of these indexes into `paths`; zeros where an older file does not tell."""
    if not recording.module_rows:
        return np.zeros_like(paths)
    return np.asarray([row.model for row in recording.module_rows], dtype=np.int64)[paths]


def with_model(recording: Recording, table: pd.DataFrame, models: np.ndarray) -> pd.DataFrame:
    """`table` with the column model before the column path where several models were called; else as it is."""
    if len({row.model for row in recording.module_rows} - {NOT_OBSERVED}) > 1:
        numbers = pd.array(models, dtype="Int64")
        numbers[models == NOT_OBSERVED] = pd.NA
        table.insert(table.columns.get_loc("path"), "model", numbers)
    return table
