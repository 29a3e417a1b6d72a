"""The questions that a Recording answers, each as a table; columns and units are told by Recording's methods."""

from __future__ import annotations

import numbers
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import landmarks as landmark_table
from ..events import BUILTIN, KINDS, MODULE, NOT_OBSERVED, STATUSES, RecordingError
from ..recording.model_columns import models_of_paths, with_model
from ..recording.rank_columns import event_ranks, ranks_of, with_rank
from ..recording.recording import Recording
from ..tables import Table

MILLISECOND = 1e6  # nanoseconds
MODULE_CALL = "Module._wrapped_call_impl"
FIRST_THREAD = 0  # index of the thread that recorded the first event
NOT_FIRED = "not observed: it did not run"


def require_finished(recording: Recording) -> None:
    """Raises RecordingError while the recording is still running."""
    if not recording.finished:
        raise RecordingError("The recording is still running: ask after the `with record()` block has ended.")


def missing(values) -> pd.array:
    """Integers with <NA> where nothing was observed."""
    array = pd.array(np.asarray(values, dtype=np.int64), dtype="Int64")
    array[np.asarray(values) == NOT_OBSERVED] = pd.NA
    return array


def tensors_text(recording: Recording, index: int) -> str:
    return ", ".join(str(recording.specs[spec]) for spec in recording.tensor_lists[index])


def values_text(recording: Recording, index: int) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in recording.value_lists[index])


def _attribute(recording: Recording, index: int, attribute: str) -> str:
    """The distinct dtypes or devices of a list of tensors, in order."""
    found = [getattr(recording.specs[spec], attribute) for spec in recording.tensor_lists[index]]
    return ", ".join(dict.fromkeys(found))


def events_by_function(recording: Recording) -> dict[int, np.ndarray]:
    """Indexes of the events of each function (index into `functions`)."""
    functions = recording.events["function"]
    order = np.argsort(functions, kind="stable")
    values, starts = np.unique(functions[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


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
        rows.append(row | _what_flowed(recording, events, kept_steps, status.reason))
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


def _what_flowed(recording: Recording, events: np.ndarray, kept_steps: int, reason: str) -> dict:
    columns = recording.events
    if not len(events):
        return {"per_step": pd.NA, "memory": pd.NA, "milliseconds": pd.NA, "observed": reason or NOT_FIRED}
    first = events[0]
    in_steps = int((columns["step"][events] != NOT_OBSERVED).sum())
    outputs = columns["outputs"][first]
    shown = outputs if recording.tensor_lists[outputs] else columns["inputs"][first]
    return {
        "per_step": in_steps / kept_steps if kept_steps and 2 * in_steps > len(events) else pd.NA,
        "tensors_in": tensors_text(recording, columns["inputs"][first]),
        "tensors_out": tensors_text(recording, outputs),
        "dtype": _attribute(recording, shown, "dtype"),
        "device": _attribute(recording, shown, "device"),
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
    costs: dict[int | None, _Cost] = defaultdict(_Cost)
    for event, (stage, outer) in enumerate(stage_around(recording, stage_of)):
        costs[stage].calls += columns["function"][event] in stage_of
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
    stages: list[tuple[int | None, int | None]] = []
    for function, parent in zip(functions, parents, strict=True):
        outer = stages[parent][0] if parent != NOT_OBSERVED else None
        stages.append((stage_of.get(function, outer), outer))
    return stages


def modules(recording: Recording, *, step: int | None, generation: int | None) -> Table:
    """See `Recording.modules`."""
    require_finished(recording)
    if "modules" not in recording.environment.get("zoom", ()):
        raise RecordingError(
            'This recording has no module calls. Record them with record("modules") or plain record().'
        )
    columns = recording.events
    chosen = columns["kind"] == MODULE
    if generation is not None:
        require_generation(recording, generation)
        chosen &= columns["generation"] == generation
    if step is not None:
        require_kept(recording, step)
        chosen &= columns["step"] == step
    rows = [
        {
            "event": event,
            "path": recording.paths[columns["path"][event]],
            "class": _class_of(recording, event),
            "location": recording.functions[columns["function"][event]].location,
            "generation": columns["generation"][event],
            "step": columns["step"][event],
            "inputs": tensors_text(recording, columns["inputs"][event]),
            "outputs": tensors_text(recording, columns["outputs"][event]),
            "dtype": _attribute(recording, columns["outputs"][event], "dtype"),
            "device": _attribute(recording, columns["outputs"][event], "device"),
            "milliseconds": (columns["end"][event] - columns["start"][event]) / MILLISECOND,
            "status": STATUSES[columns["status"][event]],
        }
        for event in np.flatnonzero(chosen).tolist()
    ]
    names = [
        "event",
        "path",
        "class",
        "location",
        "generation",
        "step",
        "inputs",
        "outputs",
        "dtype",
        "device",
        "milliseconds",
        "status",
    ]
    table = Table.of(rows, names, volatile=("location", "milliseconds"))
    for name in ("generation", "step"):
        table[name] = missing(table[name])
    with_model(recording, table, models_of_paths(recording, columns["path"][chosen]))
    return with_rank(recording, table, event_ranks(recording)[chosen])


def _class_of(recording: Recording, event: int) -> str:
    """The class of a module call's module; of an older file that of its forward."""
    if recording.module_rows:
        return recording.module_rows[recording.events["path"][event]].kind
    return recording.functions[recording.events["function"][event]].qualname.removesuffix(".forward")


def require_event(recording: Recording, event: object, asked: str) -> None:
    """Raises RecordingError where `event` is none of the recording's; `asked`: the method that was given it."""
    if isinstance(event, bool) or not isinstance(event, numbers.Integral):
        raise RecordingError(f"{asked}({event!r}): give the number of an event: a value of the column `event`.")
    if not 0 <= event < len(recording):
        raise RecordingError(f"There is no event {event}: this recording has {len(recording)}, numbered from 0.")


def require_generation(recording: Recording, generation: int) -> None:
    """Raises RecordingError where no generate() call of this recording has this number."""
    known = sorted({*recording.events["generation"].tolist(), *recording.step_rows["generation"].tolist()} - {-1})
    if generation not in known:
        there = f"give one of {', '.join(map(str, known))} (counted from 0)" if known else "no generate() was recorded"
        raise RecordingError(f"There is no generation {generation}: {there}.")


def require_kept(recording: Recording, step: int) -> None:
    """Raises RecordingError when the step was not observed, or is a summary row only."""
    rows = recording.step_rows
    known = rows["step"] == step
    if not known.any():
        raise RecordingError(
            f"There is no step {step}: {len(rows['step'])} steps were observed (the prefill is step 0)."
        )
    if not rows["kept"][known].any():
        raise RecordingError(
            f"Step {step} was kept as a summary row only. "
            f"Record it in full with record(steps={step + 1}) or record(steps=None)."
        )


def calls(recording: Recording) -> Table:
    """See `Recording.calls`."""
    require_finished(recording)
    columns = recording.events
    depths = _depths(columns["parent"])
    rows = [
        {
            "event": event,
            "depth": depths[event],
            "kind": KINDS[columns["kind"][event]],
            "function": recording.functions[columns["function"][event]].qualname,
            "location": recording.functions[columns["function"][event]].location,
            "thread": recording.threads[columns["thread"][event]],
            "generation": columns["generation"][event],
            "step": columns["step"][event],
            "arguments": values_text(recording, columns["arguments"][event]),
            "result": "not observed: a builtin's"
            if columns["kind"][event] == BUILTIN
            else values_text(recording, columns["result"][event]),
            "inputs": tensors_text(recording, columns["inputs"][event]),
            "outputs": tensors_text(recording, columns["outputs"][event]),
            "milliseconds": (columns["end"][event] - columns["start"][event]) / MILLISECOND,
            "status": STATUSES[columns["status"][event]],
        }
        for event in np.flatnonzero(columns["kind"] != MODULE).tolist()
    ]
    names = [
        "event",
        "depth",
        "kind",
        "function",
        "location",
        "thread",
        "generation",
        "step",
        "arguments",
        "result",
        "inputs",
        "outputs",
        "milliseconds",
        "status",
    ]
    table = Table.of(rows, names, volatile=("thread", "location", "milliseconds"))
    for name in ("generation", "step"):
        table[name] = missing(table[name])
    return with_rank(recording, table, event_ranks(recording)[columns["kind"] != MODULE])


def _depths(parents: np.ndarray) -> list[int]:
    depths: list[int] = []
    for parent in parents.tolist():
        depths.append(0 if parent == NOT_OBSERVED else depths[parent] + 1)
    return depths


def frame(recording: Recording) -> Table:
    """See `Recording.to_frame`."""
    require_finished(recording)
    columns = {name: values.copy() for name, values in recording.events.items()}
    table = Table.of(columns, volatile=("thread", "start", "end", "memory_before", "memory_after"))
    table["kind"] = [KINDS[kind] for kind in columns["kind"]]
    table["function"] = [
        f"{function.module}:{function.qualname}"
        for function in map(recording.functions.__getitem__, columns["function"])
    ]
    table["path"] = [recording.paths[path] if path != NOT_OBSERVED else "" for path in columns["path"]]
    table["thread"] = [recording.threads[thread] for thread in columns["thread"]]
    table["status"] = [STATUSES[status] for status in columns["status"]]
    for name in ("inputs", "outputs"):
        table[name] = [tensors_text(recording, index) for index in columns[name]]
    for name in ("arguments", "result"):
        table[name] = [values_text(recording, index) for index in columns[name]]
    for name in ("parent", "generation", "step", "memory_before", "memory_after"):
        table[name] = missing(columns[name])
    return with_rank(recording, table, event_ranks(recording))
