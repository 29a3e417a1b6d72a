"""The calls of one landmark in a recording, each with what it was given and what it gave back, by name.

The tables of a Recording put a call's arguments into one cell. Here they are dictionaries, for a question about one of
them: `call_of(recording, "fwd.sdpa", step=3).inputs["key"].shape`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import landmarks as landmark_table
from ..events import MODULE, NOT_OBSERVED, OPEN, RecordingError
from ..recording.recording import Recording
from ..recording.rows import LandmarkStatus, TensorSpec
from .cells import MILLISECOND
from .landmark_calls import of_its_own
from .requirements import require_finished
from .stages import MODULE_CALL, not_fired


@dataclass(frozen=True)
class RecordedCall:
    """One call. Names are those of the function's parameters; what lies in a tuple, list or dict has a dotted name.

    `event`: its number, for `Recording.source` and `Recording.tensors`. `function`: qualified name. `path`: of a module
    in its model, else "". `step`: of generation (0 is the prefill), None outside. `arguments` and `result`: what is not
    a tensor; of other objects the type's name ("<DynamicCache>"). `inputs` and `outputs`: the tensors. What a builtin
    gave back is not observed: both are empty. `milliseconds`: children included; None for a call that did not end.
    """

    event: int
    function: str
    path: str
    step: int | None
    arguments: dict[str, object]
    result: dict[str, object]
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    milliseconds: float | None


def calls_of(recording: Recording, landmark: str, *, step: int | None = None) -> list[RecordedCall]:
    """The recorded calls of a landmark ("gen.sample"), in order; of one generation step where `step` is given.

    Empty where it did not run. Raises RecordingError for an id that no landmark of the recording has, and for a
    landmark without a function of its own in the recorded version, with the reason.
    """
    require_finished(recording)
    chosen = of_landmark(recording, landmark)
    if step is not None:
        chosen &= recording.events["step"] == step
    return [_call(recording, event) for event in np.flatnonzero(chosen).tolist()]


def of_landmark(recording: Recording, landmark: str) -> np.ndarray:
    """Which events are calls of this landmark. Raises as `calls_of` does."""
    status = _status(recording, landmark)
    if status.function == NOT_OBSERVED:
        raise RecordingError(f"{landmark} is not observed: {status.reason}")
    if recording.functions[status.function].qualname == MODULE_CALL:
        return recording.events["kind"] == MODULE
    chosen = np.zeros(len(recording), dtype=bool)
    chosen[of_its_own(recording, landmark, np.flatnonzero(recording.events["function"] == status.function))] = True
    return chosen


def call_of(recording: Recording, landmark: str, *, step: int | None = None) -> RecordedCall:
    """The first recorded call of a landmark; raises RecordingError where there is none, with the reason."""
    found = calls_of(recording, landmark, step=step)
    if not found:
        where = "" if step is None else f" in step {step}, or the step was not kept in full: record(steps={step + 1})"
        raise RecordingError(f"{landmark} is {not_fired(landmark)}{where}.")
    return found[0]


def _status(recording: Recording, landmark: str) -> LandmarkStatus:
    for status in recording.landmark_statuses:
        if status.id == landmark:
            return status
    alike = [one.id for one in landmark_table.table() if one.id.partition(".")[0] == landmark.partition(".")[0]]
    hint = f"; there are {', '.join(alike)}" if alike else ": Recording.landmarks() lists them"
    raise RecordingError(f"No landmark of this recording is called {landmark!r}{hint}.")


def _call(recording: Recording, event: int) -> RecordedCall:
    columns = recording.events
    inputs, outputs = recording.tensors(event)
    step, path, ended = columns["step"][event], columns["path"][event], columns["status"][event] != OPEN
    return RecordedCall(
        event,
        recording.functions[columns["function"][event]].qualname,
        recording.paths[path] if path != NOT_OBSERVED else "",
        int(step) if step != NOT_OBSERVED else None,
        dict(recording.value_lists[columns["arguments"][event]]),
        dict(recording.value_lists[columns["result"][event]]),
        {spec.path: spec for spec in inputs},
        {spec.path: spec for spec in outputs},
        float(columns["end"][event] - columns["start"][event]) / MILLISECOND if ended else None,
    )
