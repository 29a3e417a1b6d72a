"""The questions about values that were read, opt-in zooms: `Recording.sampling` and `Recording.values`."""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from ..events import NOT_OBSERVED, VALUE_STATUSES, RecordingError
from ..recording.model_columns import models_of_paths, with_model
from ..recording.rank_columns import event_ranks, ranks_of, with_rank
from ..recording.recording import Recording
from ..recording.rows import SampleRow
from ..tables import Table
from .requirements import require_finished, require_kept


def _require_zoom(recording: Recording, zoom: str, what: str) -> None:
    require_finished(recording)
    if zoom not in recording.environment.get("zoom", ()):
        raise RecordingError(
            f'This recording has no {what}. Record it with record("{zoom}"): it reads values, so it is never on '
            "by default."
        )


# sampling ------------------------------------------------------------------------------------------------------------

_SAMPLING_COLUMNS = (
    "generation", "step", "chain", "position", "processor", "parameters", "sequences", "kept", "entropy_bits", "p_top",
    "before", "after", "token", "chosen_by",
)  # fmt: skip


def sampling(recording: Recording, step: int | None, generation: int) -> Table:
    """See `Recording.sampling`."""
    _require_zoom(recording, "sampling", "stages of sampling")
    ranked = zip(recording.samples, ranks_of(recording, "samples"), strict=True)
    ranked = [(row, rank) for row, rank in ranked if row.generation == generation]
    rows = [row for row, _ in ranked]
    if not rows:
        raise RecordingError(_no_generation(recording, generation))
    if step is not None:
        steps = sorted({row.step for row in rows})
        ranked = [(row, rank) for row, rank in ranked if row.step == step]
        rows = [row for row, _ in ranked]
        if not rows:
            raise RecordingError(
                f"There is no chain of logits processors in step {step} of generation {generation}: there is one in "
                f"the steps {steps[0]} to {steps[-1]} (the prefill is step 0)."
            )
    table = Table.of(
        [_stage(row, before) for row, before in zip(rows, [None, *rows], strict=False)],
        list(_SAMPLING_COLUMNS),
        volatile=("entropy_bits", "p_top", "before", "after"),  # float32: their last digits differ between machines
    )
    for name in ("sequences", "kept", "token"):
        table[name] = table[name].astype("Int64")
    for name in ("entropy_bits", "p_top"):
        table[name] = table[name].astype("Float64")
    return with_rank(recording, table, [rank for _, rank in ranked])


def _no_generation(recording: Recording, generation: int) -> str:
    known = sorted({row.generation for row in recording.samples})
    if not known:
        return "No chain of logits processors ran in this recording: put generate() inside the `with record()` block."
    return f"There is no generation {generation}: give one of {', '.join(map(str, known))} (counted from 0)."


def _stage(row: SampleRow, before: SampleRow | None) -> dict:
    return {
        **row._asdict(),
        "parameters": ", ".join(f"{name}={value}" for name, value in row.parameters),
        "entropy_bits": row.entropy,
        "before": before.top if row.position and before is not None else (),
        "after": row.top,
    }


# values --------------------------------------------------------------------------------------------------------------

_VALUES_COLUMNS = (
    "event", "path", "generation", "step", "output", "min", "max", "mean", "nan", "inf", "nan_in", "observed",
)  # fmt: skip


def values(recording: Recording, path: str | None, step: int | None, nan_only: bool) -> Table:
    """See `Recording.values`."""
    _require_zoom(recording, "values", "values of tensors")
    if step is not None:
        require_kept(recording, step)
    rows, events = recording.value_rows, recording.events
    chosen = np.ones(len(rows["event"]), dtype=bool)
    if nan_only:
        chosen &= rows["nan"] > 0
    if step is not None:
        chosen &= events["step"][rows["event"]] == step
    if path is not None:
        chosen &= np.isin(events["path"][rows["event"]], _paths(recording, path))
    of = rows["event"][chosen]
    table = Table.of(
        {
            "event": of,
            "path": [recording.paths[index] for index in events["path"][of].tolist()],
            "generation": _integers(events["generation"][of]),
            "step": _integers(events["step"][of]),
            "output": _outputs(recording, of, rows["output"][chosen]),
            **{name: _floats(rows[name][chosen]) for name in ("min", "max", "mean")},
            **{name: _integers(rows[name][chosen]) for name in ("nan", "inf", "nan_in")},
            "observed": [VALUE_STATUSES[status] for status in rows["status"][chosen].tolist()],
        },
        list(_VALUES_COLUMNS),
        volatile=("min", "max", "mean"),  # their last digits differ between machines
    )
    with_model(recording, table, models_of_paths(recording, events["path"][of]))
    return with_rank(recording, table, event_ranks(recording)[of])


def _paths(recording: Recording, pattern: str) -> list[int]:
    """Indexes of the module paths that are `pattern`, or match it. Raises RecordingError when there is none."""
    found = [index for index, path in enumerate(recording.paths) if path == pattern or fnmatchcase(path, pattern)]
    if not found:
        raise RecordingError(
            f"No module of this recording is called {pattern!r}. The names are in the column path of values(); "
            'a * stands for any characters, as in "model.layers.*.mlp".'
        )
    return found


def _outputs(recording: Recording, events: np.ndarray, outputs: np.ndarray) -> list[str]:
    lists = recording.events["outputs"][events].tolist()
    pairs = zip(lists, outputs.tolist(), strict=True)
    return [str(recording.specs[recording.tensor_lists[tensors][output]]) for tensors, output in pairs]


def _integers(found: np.ndarray) -> pd.array:
    array = pd.array(found, dtype="Int64")
    array[found == NOT_OBSERVED] = pd.NA
    return array


def _floats(found: np.ndarray) -> pd.array:
    array = pd.array(found, dtype="Float64")
    array[np.isnan(found)] = pd.NA
    return array
