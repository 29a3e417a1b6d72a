"""The landmarks and the ten stages of a Recording as tables. Columns and units: see Recording's methods."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import landmarks as landmark_table
from ..events import MODULE, NOT_OBSERVED
from ..recording.rank_columns import ranks_of
from ..recording.recording import Recording
from ..tables import Table
from .cells import MILLISECOND, attribute_text, events_by_function, tensors_text, values_text
from .landmark_calls import not_of_their_landmark, of_its_own
from .requirements import require_finished

MODULE_CALL = "Module._wrapped_call_impl"
FIRST_THREAD = 0  # index of the thread that recorded the first event


def landmarks(recording: Recording, *, observed_only: bool) -> Table:
    """See `Recording.landmarks`."""
    require_finished(recording)
    by_id = {landmark.id: landmark for landmark in landmark_table.table()}
    stage_names = landmark_table.stages()
    grouped = events_by_function(recording)
    module_events = np.flatnonzero(recording.events["kind"] == MODULE)
    kept_steps = int(recording.step_rows["kept"].sum())
    rows = []
    for status in recording.landmark_statuses:
        landmark = by_id.get(status.id)
        if landmark is None:
            continue  # recorded with a newer table
        function = recording.functions[status.function] if status.function != NOT_OBSERVED else None
        is_module_call = function is not None and function.qualname == MODULE_CALL
        events = module_events if is_module_call else grouped.get(status.function, module_events[:0])
        events = of_its_own(recording, landmark.id, events)
        if observed_only and not len(events):
            continue
        row = {
            "stage": landmark.stage,
            "stage_name": stage_names[landmark.stage],
            "landmark": landmark.id,
            "function": function.qualname if function else "",
            "location": function.location if function else "",
            "calls": len(events),
        }
        rows.append(row | _what_flowed(recording, events, kept_steps, status.reason or not_fired(landmark.id)))
    columns = [
        "stage",
        "stage_name",
        "landmark",
        "function",
        "location",
        "calls",
        "per_step",
        "tensors_in",
        "tensors_out",
        "dtype",
        "device",
        "arguments",
        "result",
        "memory",
        "milliseconds",
        "observed",
    ]
    table = Table.of(
        rows, columns, volatile=("stage_name", "location", "arguments", "result", "memory", "milliseconds")
    )
    table["per_step"] = table["per_step"].astype("Float64")
    return table


def not_fired(landmark_id: str) -> str:
    """Why a landmark that has a function has no call. A builtin is seen only where the table knows a caller of it, and
    of some functions only the calls from one place are the landmark's."""
    landmark = next((one for one in landmark_table.table() if one.id == landmark_id), None)
    if landmark is not None and landmark.outside_modules:
        return "not observed: it did not run outside module calls, and is looked for nowhere else"
    callers = [*landmark.callers, *filter(None, [landmark.caller])] if landmark is not None else []
    if not callers:
        return "not observed: it did not run"
    names = " or ".join(caller.rpartition(":")[2] for caller in callers)
    return f"not observed: it was not called by {names}, and is looked for nowhere else"


def _what_flowed(recording: Recording, events: np.ndarray, kept_steps: int, reason: str) -> dict:
    columns = recording.events
    if not len(events):
        return {"per_step": pd.NA, "memory": pd.NA, "milliseconds": pd.NA, "observed": reason}
    first = events[0]
    in_steps = int((columns["step"][events] != NOT_OBSERVED).sum())
    outputs = columns["outputs"][first]
    shown = outputs if recording.tensor_lists[outputs] else columns["inputs"][first]
    return {
        "per_step": in_steps / kept_steps if kept_steps and 2 * in_steps > len(events) else pd.NA,
        "tensors_in": tensors_text(recording, columns["inputs"][first]),
        "tensors_out": tensors_text(recording, outputs),
        "dtype": attribute_text(recording, shown, "dtype"),
        "device": attribute_text(recording, shown, "device"),
        "arguments": values_text(recording, columns["arguments"][first]),
        "result": values_text(recording, columns["result"][first]),
        "memory": _memory_gained(recording, events),
        "milliseconds": float((columns["end"][events] - columns["start"][events]).sum()) / MILLISECOND,
        "observed": "yes",
    }


def _memory_gained(recording: Recording, events: np.ndarray):
    before, after = recording.events["memory_before"][events], recording.events["memory_after"][events]
    measured = (before != NOT_OBSERVED) & (after != NOT_OBSERVED)
    if not measured.any():
        return pd.NA
    resident = recording.memory_series["resident"]
    return int((resident[after[measured]] - resident[before[measured]]).sum())


def stage_of_functions(recording: Recording) -> dict[int, int]:
    """The stage of each landmark function (index into `functions`); the first landmark of the table names it."""
    by_id = {landmark.id: landmark for landmark in landmark_table.table()}
    stages: dict[int, int] = {}
    for status in recording.landmark_statuses:
        if status.function != NOT_OBSERVED and status.id in by_id:
            stages.setdefault(status.function, by_id[status.id].stage)
    return stages


def stages(recording: Recording) -> Table:
    """See `Recording.stages`."""
    table = landmarks(recording, observed_only=False)
    known = table.groupby("stage").size()
    observed = table[table["calls"] > 0].groupby("stage").size()
    costs = _own_costs(recording)
    rows = [
        {
            "stage": stage,
            "name": name,
            "landmarks": f"{observed.get(stage, 0)} of {known.get(stage, 0)}",
            "calls": costs[stage].calls,
            "milliseconds": costs[stage].time / MILLISECOND if costs[stage].calls else pd.NA,
            "memory": costs[stage].memory if costs[stage].memory_was_read else pd.NA,
        }
        for stage, name in landmark_table.stages().items()
    ]
    table = Table.of(rows + _summarised_steps(recording, rows), volatile=("milliseconds", "memory"))
    for name in ("stage", "calls"):
        table[name] = table[name].astype("Int64")
    return table


@dataclass
class _Cost:
    """What a stage cost by itself: without the other stages that ran inside it."""

    calls: int = 0
    time: int = 0  # nanoseconds
    memory: int = 0  # bytes
    memory_was_read: bool = False


def _own_costs(recording: Recording) -> dict[int | None, _Cost]:
    """The own cost of each stage. Worker threads count as calls only: the first thread waits for them, and its time
    contains theirs. A thread that generates by itself counts whole."""
    columns = recording.events
    timed = _timed_threads(recording)
    stage_of = stage_of_functions(recording)
    others = not_of_their_landmark(recording)
    costs: dict[int | None, _Cost] = defaultdict(_Cost)
    for event, (stage, outer) in enumerate(stage_around(recording, stage_of)):
        costs[stage].calls += columns["function"][event] in stage_of and event not in others
        if stage == outer or columns["thread"][event] not in timed:
            continue
        duration = int(columns["end"][event] - columns["start"][event])
        gained = _memory_gained(recording, np.array([event]))
        costs[stage].time += duration
        costs[outer].time -= duration
        if gained is not pd.NA:
            costs[stage].memory_was_read = True
            costs[stage].memory += gained
            costs[outer].memory -= gained
    return costs


def _timed_threads(recording: Recording) -> set[int]:
    """The first thread, and those of its rank in which a generate() ran."""
    events = recording.events
    generating = np.unique(events["thread"][events["generation"] != NOT_OBSERVED])
    ranks = ranks_of(recording, "threads")
    return {FIRST_THREAD, *(int(thread) for thread in generating if ranks[thread] == 0)}


GENERATE_STAGE = 7


def _summarised_steps(recording: Recording, rows: list[dict]) -> list[dict]:
    """A row for the time of the steps whose stages are not known; it is taken out of that of generate()."""
    steps = recording.step_rows
    summarised = (steps["kept"] == 0) & (ranks_of(recording, "step_rows") == 0)  # as the stages' times
    if not summarised.any():
        return []
    milliseconds = float((steps["end"] - steps["start"])[summarised].sum()) / MILLISECOND
    for row in rows:
        if row["stage"] == GENERATE_STAGE and row["calls"]:
            row["milliseconds"] -= milliseconds
    count = int(summarised.sum())
    name = f"{count} later step{'s' if count != 1 else ''}, kept as summary rows"
    nothing = {"stage": pd.NA, "landmarks": "summarised", "calls": pd.NA, "memory": pd.NA}
    return [{**nothing, "name": name, "milliseconds": milliseconds}]


def stage_around(recording: Recording, stage_of: dict[int, int]) -> list[tuple[int | None, int | None]]:
    """(stage, stage of the event around it) of each event; an event without a stage of its own has its parent's."""
    functions, parents = recording.events["function"].tolist(), recording.events["parent"].tolist()
    others = not_of_their_landmark(recording)
    stages: list[tuple[int | None, int | None]] = []
    for event, (function, parent) in enumerate(zip(functions, parents, strict=True)):
        outer = stages[parent][0] if parent != NOT_OBSERVED else None
        stages.append((outer if event in others else stage_of.get(function, outer), outer))
    return stages
