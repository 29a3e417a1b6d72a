"""Generation steps and the memory series as tables; columns and units are told by Recording's methods."""

from __future__ import annotations

import numpy as np

from ..events import NOT_OBSERVED, RecordingError
from ..recording.model_columns import with_model
from ..recording.rank_columns import event_ranks, ranks_of, with_rank
from ..recording.recording import Recording
from ..recording.rows import WeightRow
from ..tables import Table
from .cells import MILLISECOND, missing
from .requirements import require_finished


def steps(recording: Recording) -> Table:
    """See `Recording.steps`."""
    require_finished(recording)
    rows, events = recording.step_rows, recording.events
    resident = recording.memory_series["resident"]
    ranks, own = ranks_of(recording, "step_rows"), event_ranks(recording)
    count = [
        int(((events["generation"] == generation) & (events["step"] == step) & (own == rank)).sum())
        for generation, step, rank in zip(rows["generation"], rows["step"], ranks, strict=True)
    ]
    table = Table.of(
        {
            "generation": rows["generation"],
            "step": rows["step"],
            "kind": np.where(rows["step"] == 0, "prefill", "decode"),
            "milliseconds": (rows["end"] - rows["start"]) / MILLISECOND,
            "kept": rows["kept"].astype(bool),
            "events": count,
            "tokens": missing(rows["tokens"]),
            "kv_tokens": missing(rows["kv_tokens"]),
            "kv_bytes": missing(rows["kv_bytes"]),
            "resident": missing(
                [resident[index] if index != NOT_OBSERVED else NOT_OBSERVED for index in rows["memory"]]
            ),
        },
        volatile=("milliseconds", "resident"),
    )
    return with_rank(recording, table, ranks)


def kv_cache(recording: Recording, step: int | None) -> Table:
    """See `Recording.kv_cache`."""
    require_finished(recording)
    rows = recording.cache_rows
    if step is not None and not (recording.step_rows["step"] == step).any():
        raise RecordingError(f"There is no step {step}: {len(recording.step_rows['step'])} steps were observed.")
    chosen = np.ones(len(rows["step"]), dtype=bool) if step is None else rows["step"] == step
    layers = rows["layers"][chosen]
    each = {name: np.repeat(values[chosen], layers) for name, values in rows.items()}
    within_run = np.arange(layers.sum()) - np.repeat(np.cumsum(layers) - layers, layers)
    table = Table.of(
        {
            "generation": each["generation"],
            "step": each["step"],
            "layer": each["first_layer"] + within_run,
            **{name: missing(each[name]) for name in ("tokens", "capacity", "nbytes")},
        }
    )
    return with_rank(recording, table, np.repeat(ranks_of(recording, "cache_rows")[chosen], layers))


def weights(recording: Recording) -> Table:
    """See `Recording.weights`."""
    require_finished(recording)
    if "modules" not in recording.environment.get("zoom", ()):
        raise RecordingError(
            'This recording has no module calls. Record them with record("modules") or plain record().'
        )
    if not recording.weight_rows:
        raise RecordingError("No module with weights was called in this recording: run the model inside the block.")
    table = Table.of([row._asdict() for row in recording.weight_rows], list(WeightRow._fields))
    with_model(recording, table, table.pop("model").to_numpy())
    return with_rank(recording, table, ranks_of(recording, "weight_rows"))


def memory(recording: Recording) -> Table:
    """See `Recording.memory`."""
    require_finished(recording)
    if "memory" not in recording.environment.get("zoom", ()):
        raise RecordingError('This recording has no memory series. Record it with record("memory") or plain record().')
    series = recording.memory_series
    columns = {"milliseconds": series["time"] / MILLISECOND}
    columns |= {name: missing(values) for name, values in series.items() if name != "time"}
    table = Table.of(columns, volatile=tuple(columns))
    return with_rank(recording, table, ranks_of(recording, "memory_series"))
