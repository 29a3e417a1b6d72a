"""Reading the file of a recording strictly: what is not of the kind that was written is refused here, in words, and not
met by a question later. Everything raises ValueError, TypeError, KeyError or OverflowError."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterable

import numpy as np

from ..events import KINDS, NOT_OBSERVED, STATUSES
from .recording import Recording

MOST_LAYERS = 100_000  # of one KV cache: a row of it stands for so many layers that each become a row of a table


def integers(name: str, values: object) -> np.ndarray:
    """A column of whole numbers."""
    if not isinstance(values, list):
        raise TypeError(f"column {name!r} is no list")
    if not values:
        return np.zeros(0, dtype=np.int64)
    column = np.array(values)
    if column.ndim != 1 or column.dtype != np.int64:
        raise ValueError(f"column {name!r} holds something else than whole numbers")
    return column


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, {type(value).__name__} found")
    return value


def texts(values: object) -> list[str]:
    return [text(value) for value in a_list(values)]


def a_list(values: object) -> list:
    if not isinstance(values, list):
        raise TypeError(f"list expected, {type(values).__name__} found")
    return values


def a_dict(values: object) -> dict:
    if not isinstance(values, dict):
        raise TypeError(f"object expected, {type(values).__name__} found")
    return values


def plain(value: object) -> object:
    """None, a truth value, a number that 64 bits hold, or a text."""
    if value is None or isinstance(value, str | bool | float) or (type(value) is int and abs(value) < 2**63):
        return value
    raise ValueError(f"a plain value expected, {type(value).__name__} found")


def row(kind: type, values: object) -> tuple:
    """One row of a table: a NamedTuple whose fields are of the kinds that it says; lists become tuples."""
    fields = _fields(kind)
    made = kind(*a_list(values))
    for (name, hint), value in zip(fields, made, strict=True):
        if not _fits(value, hint):
            raise ValueError(f"{kind.__name__}.{name} is {type(value).__name__} of another kind than {hint}")
    return kind(*map(_without_lists, made))


def rows(kind: type, columns: object) -> list[tuple]:
    """The rows of a table that is stored by column; columns that the file does not know yet have their defaults."""
    columns = a_dict(columns)
    known = [name for name in kind._fields if name in columns or name not in kind._field_defaults]
    listed = [a_list(columns[name]) for name in known]
    filled = [kind(**dict(zip(known, values, strict=True))) for values in zip(*listed, strict=True)]
    return [row(kind, list(one)) for one in filled]


def _without_lists(value: object) -> object:
    return tuple(map(_without_lists, value)) if isinstance(value, list | tuple) else value


@functools.cache
def _fields(kind: type) -> list[tuple[str, object]]:
    return list(typing.get_type_hints(kind).items())


def _fits(value: object, hint: object) -> bool:
    """Whether `value`, from JSON, is what an annotation of `rows` says; tuples are lists there."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if hint is float:
        return type(value) in (float, int)
    if hint is int:
        return type(value) is int and abs(value) < 2**62
    return type(value) is hint


def environment(values: object) -> dict:
    """Plain values and lists of texts by name."""
    found = {text(name): value for name, value in a_dict(values).items()}
    for value in found.values():
        if isinstance(value, list):
            texts(value)
        else:
            plain(value)
    found["zoom"] = texts(found.get("zoom", []))
    return found


# what points at something --------------------------------------------------------------------------------------------


def check(recording: Recording) -> None:
    """Every index points at something, so that no later question fails half-way. Raises ValueError."""
    events, count = recording.events, len(recording)
    tensors, values = len(recording.tensor_lists), len(recording.value_lists)
    memory = len(recording.memory_series["time"])
    within(
        events,
        kind=(0, len(KINDS)),
        function=(0, len(recording.functions)),
        path=(NOT_OBSERVED, len(recording.paths)),
        thread=(0, len(recording.threads)),
        parent=(NOT_OBSERVED, count),
        generation=(NOT_OBSERVED, None),
        step=(NOT_OBSERVED, None),
        inputs=(0, tensors),
        outputs=(0, tensors),
        arguments=(0, values),
        result=(0, values),
        memory_before=(NOT_OBSERVED, memory),
        memory_after=(NOT_OBSERVED, memory),
        status=(0, len(STATUSES)),
    )
    if count and (events["parent"] >= np.arange(count)).any():
        raise ValueError("an event comes before the event around it")
    if ((events["kind"] == KINDS.index("module")) & (events["path"] == NOT_OBSERVED)).any():
        raise ValueError("a module call has no path")
    if recording.module_rows and len(recording.module_rows) != len(recording.paths):
        raise ValueError("not every path has its module")
    within(recording.step_rows, generation=(0, None), step=(0, None), kept=(0, 2), memory=(NOT_OBSERVED, memory))
    within(recording.cache_rows, first_layer=(0, MOST_LAYERS), layers=(0, MOST_LAYERS))
    within(recording.line_rows, event=(0, count), line=(0, None), tensors=(0, tensors), values=(0, values))
    _within("a tensor list", [spec for row in recording.tensor_lists for spec in row], 0, len(recording.specs))
    _within("a landmark", [status.function for status in recording.landmark_statuses], -1, len(recording.functions))


def within(columns: dict[str, np.ndarray], **limits: tuple[int, int | None]) -> None:
    """Each column lies within its limits, the upper one excluded. Raises ValueError."""
    for name, (low, high) in limits.items():
        _within(f"column {name!r}", columns[name], low, high)


def _within(name: str, values: Iterable[int], low: int, high: int | None) -> None:
    values = np.asarray(values, dtype=np.int64)
    if len(values) and (values.min() < low or (high is not None and values.max() >= high)):
        raise ValueError(f"{name} points outside its table")
