"""find(): the events of a Recording that match what is known of them. See `Recording.find`."""

from __future__ import annotations

import numbers
import operator
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .. import landmarks as landmark_table
from ..events import KINDS, NOT_OBSERVED, RecordingError
from ..recording.rank_columns import event_ranks, with_rank
from ..recording.recording import Recording
from ..recording.rows import Function, TensorSpec
from ..tables import Table
from .cells import MILLISECOND
from .recorded_calls import of_landmark
from .requirements import require_finished, require_kept
from .stages import stage_around, stage_of_functions

COLUMNS = (
    "event", "kind", "function", "path", "location", "thread", "generation", "step",
    "inputs", "outputs", "dtype", "device", "milliseconds",
)  # fmt: skip
VOLATILE = ("location", "thread", "milliseconds")
_SIZES = r"\s*(\d+(\s*,\s*\d+)*\s*,?\s*)?"
_WHOLE_SHAPE = re.compile(rf"\({_SIZES}\)|\[{_SIZES}\]|\d+(\s*,\s*\d+)+", re.ASCII)


def find(recording: Recording, *, name, shape, dtype, device, stage, thread, step) -> Table:
    """See `Recording.find`."""
    require_finished(recording)
    if all(asked is None for asked in (name, shape, dtype, device, stage, thread, step)):
        raise RecordingError(
            'find() was asked for nothing. Say what to look for: find("self_attn"), find(shape=(1, 173, 576)), '
            'find(dtype="float16"), find(stage=9), find("q_proj", step=0).'
        )
    chosen = np.ones(len(recording), dtype=bool)
    if name is not None:
        chosen &= _named(recording, _text("name", name))
    if not (shape is None and dtype is None and device is None):
        chosen &= _with_tensor(recording, shape, dtype, device)
    if stage is not None:
        chosen &= _in_stage(recording, stage)
    if thread is not None:
        chosen &= _matching(recording.threads, _text("thread", thread))[recording.events["thread"]]
    if step is not None:
        step = _whole_number("step", step)
        require_kept(recording, step)
        chosen &= recording.events["step"] == step
    return _table(recording, np.flatnonzero(chosen))


# names ---------------------------------------------------------------------------------------------------------------


def _text(argument: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RecordingError(f"find({argument}={value!r}): give a part of the {argument} as a text that is not empty.")
    return value.strip()


def _whole_number(argument: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise RecordingError(f"find({argument}={value!r}): give a whole number.")
    return int(value)


def _matching(names: Sequence[str], part: str) -> np.ndarray:
    """Which names contain `part`, letters' case aside. One entry more than names: index -1 (no name) never matches."""
    part = part.casefold()
    return np.array([part in name.casefold() for name in names] + [False], dtype=bool)


def _searched(function: Function) -> str:
    # One line per field, so that no match runs from one into the next.
    return f"{function.module}:{function.qualname}\n{function.module}.{function.qualname}\n{function.file}"


def _named(recording: Recording, name: str) -> np.ndarray:
    if name in {status.id for status in recording.landmark_statuses}:
        return of_landmark(recording, name)
    in_functions = _matching([_searched(function) for function in recording.functions], name)
    in_paths = _matching(recording.paths, name)
    return in_functions[recording.events["function"]] | in_paths[recording.events["path"]]


# tensors -------------------------------------------------------------------------------------------------------------


def _with_tensor(recording: Recording, shape: object, dtype: object, device: object) -> np.ndarray:
    """Which events have one tensor, among inputs and outputs, that is all of what was asked."""
    size, whole = _asked_shape(shape)
    dtype = None if dtype is None else _asked_dtype(recording, dtype)
    device = None if device is None else _asked_name("device", device)

    def fits(spec: TensorSpec) -> bool:
        return (
            (size is None or size in spec.shape)
            and (whole is None or whole == spec.shape)
            and (dtype is None or dtype == spec.dtype)
            and (device is None or device in (spec.device, spec.device.partition(":")[0]))
        )

    fitting = {index for index, spec in enumerate(recording.specs) if fits(spec)}
    lists = np.array([not fitting.isdisjoint(tensors) for tensors in recording.tensor_lists], dtype=bool)
    return lists[recording.events["inputs"]] | lists[recording.events["outputs"]]


def _asked_shape(shape: object) -> tuple[int | None, tuple[int, ...] | None]:
    """(a size that one dimension has, a whole shape): at most one of them is asked."""
    if shape is None:
        return None, None
    if isinstance(shape, numbers.Integral) and not isinstance(shape, bool):
        return int(shape), None
    if isinstance(shape, str) and re.fullmatch(r"\s*\d+\s*", shape, re.ASCII):
        return int(shape), None
    if isinstance(shape, str) and _WHOLE_SHAPE.fullmatch(shape.strip()):
        return None, tuple(int(size) for size in re.findall(r"\d+", shape))
    if isinstance(shape, (tuple, list)) and not any(isinstance(size, bool) for size in shape):
        try:
            return None, tuple(operator.index(size) for size in shape)
        except TypeError:
            pass  # told below
    raise RecordingError(
        f"find(shape={shape!r}): give one size that a dimension has (4096), or a whole shape, "
        'as numbers or as text: (1, 173, 576) or "(1, 173, 576)".'
    )


def _asked_dtype(recording: Recording, value: object) -> str:
    """Raises RecordingError for a name that torch does not have; one that no tensor had finds nothing."""
    import torch

    name = _asked_name("dtype", value).removeprefix("torch.")
    known = sorted({spec.dtype for spec in recording.specs})
    if name not in known and not isinstance(getattr(torch, name, None), torch.dtype):
        raise RecordingError(f"find(dtype={value!r}): torch has no such dtype. In this recording: {', '.join(known)}.")
    return name


def _asked_name(argument: str, value: object) -> str:
    """The name of a torch.dtype or torch.device, or the text itself."""
    kind = type(value)
    is_torch_constant = (kind.__module__, kind.__name__) == ("torch", argument)
    name = str(value) if is_torch_constant else value
    if not isinstance(name, str) or not name.strip():
        example = '"float16" or torch.float16' if argument == "dtype" else '"cpu", "cuda", "cuda:0" or a torch.device'
        raise RecordingError(f"find({argument}={value!r}): give {example}.")
    return name.strip().lower()


# stages --------------------------------------------------------------------------------------------------------------


def _in_stage(recording: Recording, stage: object) -> np.ndarray:
    number = _stage_number(stage)
    around = stage_around(recording, stage_of_functions(recording))
    return np.array([own == number for own, _ in around], dtype=bool)


def _stage_number(stage: object) -> int:
    names = landmark_table.stages()
    if isinstance(stage, str):
        for number, name in names.items():
            if stage.strip().casefold() == name.casefold():
                return number
    elif isinstance(stage, numbers.Integral) and not isinstance(stage, bool) and int(stage) in names:
        return int(stage)
    known = ", ".join(f"{number} {name!r}" for number, name in names.items())
    raise RecordingError(f"find(stage={stage!r}): there is no such stage. Give the number or the name of one: {known}.")


# the answer ----------------------------------------------------------------------------------------------------------


def _table(recording: Recording, events: np.ndarray) -> Table:
    table = Table.of([_row(recording, event) for event in events.tolist()], list(COLUMNS), VOLATILE)
    for name in ("generation", "step"):
        values = recording.events[name][events]
        table[name] = pd.array(values, dtype="Int64")
        table.loc[values == NOT_OBSERVED, name] = pd.NA
    return with_rank(recording, table, event_ranks(recording)[events])


def _row(recording: Recording, event: int) -> dict[str, object]:
    columns = recording.events
    function = recording.functions[columns["function"][event]]
    path = columns["path"][event]
    inputs, outputs = recording.tensors(event)
    shown = outputs or inputs
    return {
        "event": event,
        "kind": KINDS[columns["kind"][event]],
        "function": function.qualname,
        "path": recording.paths[path] if path != NOT_OBSERVED else "",
        "location": function.location,
        "thread": recording.threads[columns["thread"][event]],
        "inputs": ", ".join(map(str, inputs)),
        "outputs": ", ".join(map(str, outputs)),
        "dtype": ", ".join(dict.fromkeys(spec.dtype for spec in shown)),
        "device": ", ".join(dict.fromkeys(spec.device for spec in shown)),
        "milliseconds": (columns["end"][event] - columns["start"][event]) / MILLISECOND,
    }
