"""Generation steps and the memory series as tables; columns and units are told by Recording's methods."""

from __future__ import annotations

import numpy as np

from .events import NOT_OBSERVED, RecordingError
from .queries import MILLISECOND, missing, require_finished
from .recording import Recording
from .tables import Table


def steps(recording: Recording) -> Table:
    """See `Recording.steps`."""
    require_finished(recording)
    rows, events = recording.step_rows, recording.events
    resident = recording.memory_series["resident"]
    count = [
        int(((events["generation"] == generation) & (events["step"] == step)).sum())
        for generation, step in zip(rows["generation"], rows["step"], strict=True)
    ]
    return Table.of(
        {
            "generation": rows["generation"],
            "step": rows["step"],
            "kind": np.where(rows["step"] == 0, "prefill", "decode"),
            "milliseconds": (rows["end"] - rows["start"]) / MILLISECOND,
            "kept": rows["kept"].astype(bool),
            "events": count,
            "kv_tokens": missing(rows["kv_tokens"]),
            "kv_bytes": missing(rows["kv_bytes"]),
            "resident": missing(
                [resident[index] if index != NOT_OBSERVED else NOT_OBSERVED for index in rows["memory"]]
            ),
        },
        volatile=("milliseconds", "resident"),
    )


def memory(recording: Recording) -> Table:
    """See `Recording.memory`."""
    require_finished(recording)
    if "memory" not in recording.environment.get("zoom", ()):
        raise RecordingError('This recording has no memory series. Record it with record("memory") or plain record().')
    series = recording.memory_series
    columns = {"milliseconds": series["time"] / MILLISECOND}
    columns |= {name: missing(values) for name, values in series.items() if name != "time"}
    return Table.of(columns, volatile=tuple(columns))
