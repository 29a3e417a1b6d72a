"""The questions that a Recording answers, each as a table; columns and units are told by Recording's methods."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd

from . import landmarks as landmark_table
from .events import BUILTIN, KINDS, MODULE, NOT_OBSERVED, STATUSES, RecordingError
from .recording import Recording
from .tables import Table

MILLISECOND = 1e6  # nanoseconds
MODULE_CALL = "Module._wrapped_call_impl"
NOT_FIRED = "not observed: it did not run"


def _require_finished(recording: Recording) -> None:
    if not recording.finished:
        raise RecordingError("The recording is still running: ask after the `with record()` block has ended.")


def _missing(values) -> pd.array:
    """Integers with <NA> where nothing was observed."""
    array = pd.array(np.asarray(values, dtype=np.int64), dtype="Int64")
    array[np.asarray(values) == NOT_OBSERVED] = pd.NA
    return array


def _tensors(recording: Recording, index: int) -> str:
    return ", ".join(str(recording.specs[spec]) for spec in recording.tensor_lists[index])


def _values(recording: Recording, index: int) -> str:
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
    _require_finished(recording)
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
    table = Table.of(rows, columns, volatile=("memory", "milliseconds", "stage_name", "arguments", "result"))
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
        "tensors_in": _tensors(recording, columns["inputs"][first]),
        "tensors_out": _tensors(recording, outputs),
        "dtype": _attribute(recording, shown, "dtype"),
        "device": _attribute(recording, shown, "device"),
        "arguments": _values(recording, columns["arguments"][first]),
        "result": _values(recording, columns["result"][first]),
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
    _require_finished(recording)
    columns = recording.events
    stage_of = stage_of_functions(recording)
    own_time, own_memory, calls = defaultdict(float), defaultdict(int), defaultdict(int)
    seen: dict[int, set[int]] = defaultdict(set)
    around = _stage_around(recording, stage_of)
    for event, (stage, outer) in enumerate(around):
        if stage is None or (columns["kind"][event] == MODULE and columns["function"][event] not in stage_of):
            continue
        calls[stage] += columns["function"][event] in stage_of
        seen[stage].add(int(columns["function"][event]))
        if stage == outer:
            continue
        duration = columns["end"][event] - columns["start"][event]
        gained = _memory_gained(recording, np.array([event]))
        own_time[stage] += duration
        own_memory[stage] += 0 if gained is pd.NA else gained
        if outer is not None and columns["parent"][event] != NOT_OBSERVED:
            own_time[outer] -= duration
            own_memory[outer] -= 0 if gained is pd.NA else gained
    known = defaultdict(int)
    for landmark in landmark_table.table():
        known[landmark.stage] += landmark.kind != "fact"
    rows = [
        {
            "stage": stage,
            "name": name,
            "landmarks": f"{len(seen[stage])} of {known[stage]}",
            "calls": calls[stage],
            "milliseconds": own_time[stage] / MILLISECOND if calls[stage] else pd.NA,
            "memory": own_memory[stage] if calls[stage] else pd.NA,
        }
        for stage, name in landmark_table.stages().items()
    ]
    return Table.of(rows, volatile=("milliseconds", "memory"))


def _stage_around(recording: Recording, stage_of: dict[int, int]) -> list[tuple[int | None, int | None]]:
    """(stage, stage of the event around it) of each event; an event without a stage of its own has its parent's."""
    functions, parents = recording.events["function"].tolist(), recording.events["parent"].tolist()
    stages: list[tuple[int | None, int | None]] = []
    for function, parent in zip(functions, parents, strict=True):
        outer = stages[parent][0] if parent != NOT_OBSERVED else None
        stages.append((stage_of.get(function, outer), outer))
    return stages


def modules(recording: Recording, *, step: int | None, generation: int | None) -> Table:
    """See `Recording.modules`."""
    _require_finished(recording)
    if "modules" not in recording.environment.get("zoom", ()):
        raise RecordingError(
            'This recording has no module calls. Record them with record("modules") or plain record().'
        )
    columns = recording.events
    chosen = columns["kind"] == MODULE
    if generation is not None:
        chosen &= columns["generation"] == generation
    if step is not None:
        _require_kept(recording, step)
        chosen &= columns["step"] == step
    rows = [
        {
            "event": event,
            "path": recording.paths[columns["path"][event]],
            "class": recording.functions[columns["function"][event]].qualname.removesuffix(".forward"),
            "location": recording.functions[columns["function"][event]].location,
            "generation": columns["generation"][event],
            "step": columns["step"][event],
            "inputs": _tensors(recording, columns["inputs"][event]),
            "outputs": _tensors(recording, columns["outputs"][event]),
            "dtype": _attribute(recording, columns["outputs"][event], "dtype"),
            "device": _attribute(recording, columns["outputs"][event], "device"),
            "milliseconds": (columns["end"][event] - columns["start"][event]) / MILLISECOND,
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
    ]
    table = Table.of(rows, names, volatile=("milliseconds",))
    for name in ("generation", "step"):
        table[name] = _missing(table[name])
    return table


def _require_kept(recording: Recording, step: int) -> None:
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
    _require_finished(recording)
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
            "arguments": _values(recording, columns["arguments"][event]),
            "result": "not observed: a builtin's"
            if columns["kind"][event] == BUILTIN
            else _values(recording, columns["result"][event]),
            "inputs": _tensors(recording, columns["inputs"][event]),
            "outputs": _tensors(recording, columns["outputs"][event]),
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
    table = Table.of(rows, names, volatile=("thread", "milliseconds"))
    for name in ("generation", "step"):
        table[name] = _missing(table[name])
    return table


def _depths(parents: np.ndarray) -> list[int]:
    depths: list[int] = []
    for parent in parents.tolist():
        depths.append(0 if parent == NOT_OBSERVED else depths[parent] + 1)
    return depths


def steps(recording: Recording) -> Table:
    """See `Recording.steps`."""
    _require_finished(recording)
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
            "kv_tokens": _missing(rows["kv_tokens"]),
            "kv_bytes": _missing(rows["kv_bytes"]),
            "resident": _missing(
                [resident[index] if index != NOT_OBSERVED else NOT_OBSERVED for index in rows["memory"]]
            ),
        },
        volatile=("milliseconds", "resident"),
    )


def memory(recording: Recording) -> Table:
    """See `Recording.memory`."""
    _require_finished(recording)
    if "memory" not in recording.environment.get("zoom", ()):
        raise RecordingError('This recording has no memory series. Record it with record("memory") or plain record().')
    series = recording.memory_series
    columns = {"milliseconds": series["time"] / MILLISECOND}
    columns |= {name: _missing(values) for name, values in series.items() if name != "time"}
    return Table.of(columns, volatile=tuple(columns))


def frame(recording: Recording) -> Table:
    """See `Recording.to_frame`."""
    _require_finished(recording)
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
        table[name] = [_tensors(recording, index) for index in columns[name]]
    for name in ("arguments", "result"):
        table[name] = [_values(recording, index) for index in columns[name]]
    for name in ("parent", "generation", "step", "memory_before", "memory_after"):
        table[name] = _missing(columns[name])
    return table
