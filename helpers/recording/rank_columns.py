"""The rank that each row of a merged recording is of, for the tables that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from .recording import Recording

# The tables of a recording whose rows belong to a rank. Of an event it is the rank of its thread.
RANKED = ("threads", "memory_series", "step_rows", "cache_rows", "weight_rows", "loads", "samples")


def row_count(recording: Recording, table: str) -> int:
    """Rows of one of RANKED."""
    rows = getattr(recording, table)
    return len(next(iter(rows.values()))) if isinstance(rows, dict) else len(rows)


def event_ranks(recording: Recording) -> np.ndarray:
    """The rank of each event; zeros for a recording of one process."""
    threads = recording.events["thread"]
    return recording.ranks["threads"][threads] if recording.ranks else np.zeros_like(threads)


def ranks_of(recording: Recording, table: str) -> np.ndarray:
    """The rank of each row of one of RANKED; zeros for a recording of one process."""
    return recording.ranks[table] if recording.ranks else np.zeros(row_count(recording, table), dtype=np.int64)


def with_rank(recording: Recording, table: pd.DataFrame, ranks: np.ndarray) -> pd.DataFrame:
    """`table` with the column rank before the others where the recording is of several ranks; else as it is."""
    if recording.ranks:
        table.insert(0, "rank", ranks)
    return table


def packed(recording: Recording) -> dict[str, list[int]]:
    """The ranks as plain JSON values."""
    return {name: recording.ranks[name].tolist() for name in RANKED}


def unpacked(content: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """The ranks of a document. Raises KeyError, TypeError or ValueError when they are damaged."""
    return {name: np.asarray(content[name], dtype=np.int64) for name in RANKED}


def checked(recording: Recording) -> None:
    """Raises ValueError where the ranks do not fit the tables that they are of."""
    if not recording.ranks:
        return
    size = recording.environment.get("world_size")
    if not isinstance(size, int) or size < 2:
        raise ValueError("a recording of several ranks does not say how many")
    for name in RANKED:
        ranks = recording.ranks[name]
        if len(ranks) != row_count(recording, name) or (len(ranks) and not 0 <= ranks.min() <= ranks.max() < size):
            raise ValueError(f"the ranks of {name} do not fit its rows")
