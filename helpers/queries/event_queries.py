"""The events of a Recording as tables: module calls, other calls, all. Columns and units: see Recording's methods."""

from __future__ import annotations

import numpy as np

from ..events import BUILTIN, KINDS, MODULE, NOT_OBSERVED, STATUSES, RecordingError
from ..recording.model_columns import models_of_paths, with_model
from ..recording.rank_columns import event_ranks, with_rank
from ..recording.recording import Recording
from ..tables import Table
from .cells import MILLISECOND, attribute_text, missing, tensors_text, values_text
from .requirements import require_finished, require_generation, require_kept


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
            "dtype": attribute_text(recording, columns["outputs"][event], "dtype"),
            "device": attribute_text(recording, columns["outputs"][event], "device"),
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
