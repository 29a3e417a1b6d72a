"""From what the probes wrote to the columns of a Recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..events import EVENT_COLUMNS, LINE_COLUMNS, NOT_OBSERVED, NOTHING, OPEN, VALUE_COLUMNS, VALUE_FLOATS
from ..probes.event_log import END_FIELDS, START_FIELDS, EventLog, IntegerRows

if TYPE_CHECKING:
    from ..probes.lines import LineProbe
    from ..probes.values import ValuesProbe

TICK = 100  # nanoseconds: the resolution that is kept


def event_columns(log: EventLog, descriptions: list[tuple[int, int]], began: int, now: int) -> dict[str, np.ndarray]:
    """Join starts and ends, in the order of starting; a call without an end was still open, until `now`.

    The log has nanoseconds of the clock; the columns, and `now`, those since the recording `began`.
    """
    # the ends first: a thread that is late may still write, and each end needs its start
    end_table = _table(log.ends, END_FIELDS)
    table = _table(log.starts, START_FIELDS)
    table = table[np.argsort(table[:, 0], kind="stable")]
    indexes, kind, function, path, seen, thread, parent, generation, step, before, start = table.T
    ended = np.tile(np.array([began + now, NOTHING, NOT_OBSERVED, OPEN], dtype=np.int64), (len(table), 1))
    ended[np.searchsorted(indexes, end_table[:, 0])] = end_table[:, 1:]
    end, given, after, status = ended.T
    tensors, values = np.array(descriptions, dtype=np.int64).T
    columns = {
        "kind": kind,
        "function": function,
        "path": path,
        "thread": thread,
        "parent": np.where(parent == NOT_OBSERVED, NOT_OBSERVED, np.searchsorted(indexes, parent)),
        "generation": generation,
        "step": step,
        "start": (start - began) // TICK * TICK,
        "end": (np.maximum(end, start) - began) // TICK * TICK,
        "inputs": tensors[seen],
        "arguments": values[seen],
        "outputs": tensors[given],
        "result": values[given],
        "memory_before": before,
        "memory_after": after,
        "status": status,
    }
    return {name: np.ascontiguousarray(columns[name]) for name in EVENT_COLUMNS}


def _table(rows: IntegerRows, fields: tuple[str, ...]) -> np.ndarray:
    return np.frombuffer(rows.packed(), dtype=np.int64).reshape(-1, len(fields))


def _places(events: Sequence[int], log: EventLog) -> np.ndarray:
    """The places in the event columns of the events with these indexes of the log."""
    if not len(events):
        return np.zeros(0, dtype=np.int64)
    return np.searchsorted(np.sort(_table(log.starts, START_FIELDS)[:, 0]), np.asarray(events, dtype=np.int64))


def value_columns(probe: ValuesProbe | None, log: EventLog, statuses: np.ndarray) -> dict[str, np.ndarray]:
    """The value rows, in the order in which calls returned; events are counted as in the event columns.

    `statuses`: of those. What another thread has read after they were made belongs to no call that has ended there.
    """
    rows = _of_ended_calls([*probe.rows], log, statuses) if probe else []
    event, output, status, low, high, mean, nan, inf, nan_in = zip(*rows, strict=True) if rows else [()] * 9
    columns = {
        "event": _places(event, log),
        "output": output,
        "status": status,
        "nan": nan,
        "inf": inf,
        "nan_in": nan_in,
        # six significant digits: text of floats is what makes a file large
        **{
            name: [float(f"{value:.6g}") for value in values]
            for name, values in (("min", low), ("max", high), ("mean", mean))
        },
    }
    kinds = {name: np.float64 if name in VALUE_FLOATS else np.int64 for name in VALUE_COLUMNS}
    return {name: np.asarray(columns[name], dtype=kind) for name, kind in kinds.items()}


def _of_ended_calls(rows: list[tuple], log: EventLog, statuses: np.ndarray) -> list[tuple]:
    places = _places([row[0] for row in rows], log)
    return [row for row, place in zip(rows, places, strict=True) if place < len(statuses) and statuses[place] != OPEN]


def line_columns(probe: LineProbe | None, log: EventLog) -> dict[str, np.ndarray]:
    """The line rows, by call and time; events are counted as in the event columns."""
    written = probe.rows if probe else []
    rows = sorted((event, start, line, tensors, values) for event, line, start, tensors, values in written)
    event, start, line, tensors, values = np.array(rows, dtype=np.int64).reshape(len(rows), 5).T
    event = _places(event, log)
    columns = {"event": event, "line": line, "start": start, "tensors": tensors, "values": values}
    return {name: np.ascontiguousarray(columns[name]) for name in LINE_COLUMNS}


def columns(rows: dict[str, list[int]], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: np.asarray(rows[name], dtype=np.int64) for name in names}
