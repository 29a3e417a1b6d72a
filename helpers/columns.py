"""From what the probes wrote to the columns of a Recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .events import EVENT_COLUMNS, LINE_COLUMNS, NOT_OBSERVED, OPEN, VALUE_COLUMNS, VALUE_FLOATS
from .rows import LoadRow

if TYPE_CHECKING:
    from .probes.lines import LineProbe
    from .probes.values import ValuesProbe

TICK = 100  # nanoseconds: the resolution that is kept


def event_columns(starts: list[tuple], ends: list[tuple], now: int) -> dict[str, np.ndarray]:
    """Join starts and ends, in the order of starting; a call without an end was still open."""
    starts = sorted(starts)
    place = {row[0]: position for position, row in enumerate(starts)}
    count = len(starts)
    ended = np.tile(np.array([now, 0, 0, NOT_OBSERVED, OPEN], dtype=np.int64), (count, 1))
    for index, *rest in ends:
        if index in place:
            ended[place[index]] = rest
    table = np.array([row[1:] for row in starts], dtype=np.int64).reshape(count, 11)
    kind, function, path, inputs, arguments, thread, parent, generation, step, before, start = table.T
    columns = {
        "kind": kind,
        "function": function,
        "path": path,
        "thread": thread,
        "parent": np.array([place.get(index, NOT_OBSERVED) for index in parent.tolist()], dtype=np.int64),
        "generation": generation,
        "step": step,
        "start": start // TICK * TICK,
        "end": np.maximum(ended[:, 0], start) // TICK * TICK,
        "inputs": inputs,
        "arguments": arguments,
        "outputs": ended[:, 1],
        "result": ended[:, 2],
        "memory_before": before,
        "memory_after": ended[:, 3],
        "status": ended[:, 4],
    }
    return {name: np.ascontiguousarray(columns[name]) for name in EVENT_COLUMNS}


def value_columns(probe: ValuesProbe | None, starts: list[tuple]) -> dict[str, np.ndarray]:
    """The value rows, in the order in which calls returned; events are counted as in the event columns."""
    rows = probe.rows if probe else []
    indexes = np.sort(np.array([row[0] for row in starts], dtype=np.int64))
    event, output, status, low, high, mean, nan, inf, nan_in = zip(*rows, strict=True) if rows else [()] * 9
    columns = {
        "event": np.searchsorted(indexes, np.array(event, dtype=np.int64)),
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


def line_columns(probe: LineProbe | None, starts: list[tuple]) -> dict[str, np.ndarray]:
    """The line rows, by call and time; events are counted as in the event columns."""
    rows = probe.rows if probe else []
    place = {index: position for position, index in enumerate(sorted(row[0] for row in starts))}
    known = sorted((place[event], start, line, tensors, values) for event, line, start, tensors, values in rows)
    table = np.array(known, dtype=np.int64).reshape(len(known), 5)
    event, start, line, tensors, values = table.T
    columns = {"event": event, "line": line, "start": start // TICK * TICK, "tensors": tensors, "values": values}
    return {name: np.ascontiguousarray(columns[name]) for name in LINE_COLUMNS}


def rounded(row: LoadRow) -> LoadRow:
    """Times in the resolution that is kept."""
    times = {name: getattr(row, name) for name in ("started", "finished", "placed")}
    return row._replace(**{name: None if time is None else time // TICK * TICK for name, time in times.items()})


def columns(rows: dict[str, list[int]], names: tuple[str, ...], times: tuple[str, ...]) -> dict[str, np.ndarray]:
    columns = {name: np.asarray(rows[name], dtype=np.int64) for name in names}
    for name in times:
        columns[name] = columns[name] // TICK * TICK
    return columns
