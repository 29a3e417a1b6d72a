"""The file of a recording: gzip-compressed JSON with a schema version. Read as data, never unpickled, never run."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np

from . import readings_file
from .events import EVENT_COLUMNS, KINDS, LINE_COLUMNS, MEMORY_COLUMNS, STATUSES, STEP_COLUMNS, RecordingError
from .recording import Recording
from .rows import Function, LandmarkStatus, LoadRow, TensorSpec
from .whole_file import write_whole

FORMAT = "transformers call path recording"
SCHEMA = 1
LARGEST = 2**30  # bytes of JSON; a larger file is refused rather than filling the memory


def document(recording: Recording) -> dict:
    """The recording as plain JSON values."""
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "environment": recording.environment,
        "functions": [list(function) for function in recording.functions],
        "paths": recording.paths,
        "threads": recording.threads,
        "specs": [[*spec[:1], list(spec.shape), *spec[2:]] for spec in recording.specs],
        "tensor_lists": [list(tensors) for tensors in recording.tensor_lists],
        "value_lists": [[list(pair) for pair in values] for values in recording.value_lists],
        "landmark_statuses": [list(status) for status in recording.landmark_statuses],
        "events": _pack(recording.events),
        "memory_series": _pack(recording.memory_series),
        "step_rows": _pack(recording.step_rows),
        "line_rows": _pack(recording.line_rows),
        "loads": {name: [getattr(row, name) for row in recording.loads] for name in LoadRow._fields},
        "sources": recording.sources,
        "warnings": recording.warnings,
        **readings_file.document(recording),
    }


def _pack(columns: dict[str, np.ndarray]) -> dict[str, list[int]]:
    """Columns as lists; times and positions as differences, which compress better."""
    packed = dict(columns)
    if "end" in packed:
        packed["end"] = packed["end"] - packed["start"]
    if "parent" in packed:
        packed["parent"] = np.arange(len(packed["parent"])) - packed["parent"]
    for name in ("start", "time"):
        if name in packed:
            packed[name] = np.diff(packed[name], prepend=0)
    return {name: values.tolist() for name, values in packed.items()}


def _unpack(packed: dict[str, list[int]], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    columns = {name: np.asarray(packed[name], dtype=np.int64) for name in names}
    if len({len(values) for values in columns.values()}) > 1:
        raise ValueError("columns of different lengths")
    for name in ("start", "time"):
        if name in columns:
            columns[name] = np.cumsum(columns[name])
    if "end" in columns:
        columns["end"] = columns["end"] + columns["start"]
    if "parent" in columns:
        columns["parent"] = np.arange(len(columns["parent"])) - columns["parent"]
    return columns


def save(recording: Recording, path: Path) -> Path:
    """See `Recording.save`."""
    if not recording.finished:
        raise RecordingError("This recording is still running: save it after the `with record()` block has ended.")
    text = json.dumps(document(recording), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)
    return write_whole(path, data)


def load(path: Path) -> Recording:
    """See `Recording.load`."""
    try:
        with gzip.open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise RecordingError(f"There is no recording at {path}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise RecordingError(
            f"{path} is not a readable recording ({error}): it is damaged or another kind of file."
        ) from error
    if len(data) > LARGEST:
        raise RecordingError(f"{path} unpacks to more than {LARGEST} bytes and is refused.")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path} is damaged: its content is not JSON ({error}).") from error
    return _from_document(content, path)


def _from_document(content: object, path: Path) -> Recording:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RecordingError(f"{path} is not a recording of the call path.")
    schema = content.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RecordingError(
            f"{path} has schema {schema!r}; this version reads up to {SCHEMA}. Update the helpers package."
        )
    try:
        recording = Recording(
            environment=dict(content["environment"]),
            functions=[Function(*row) for row in content["functions"]],
            paths=[str(name) for name in content["paths"]],
            threads=[str(name) for name in content["threads"]],
            specs=[TensorSpec(row[0], tuple(row[1]), *row[2:]) for row in content["specs"]],
            tensor_lists=[tuple(map(int, row)) for row in content["tensor_lists"]],
            value_lists=[tuple((str(name), value) for name, value in row) for row in content["value_lists"]],
            landmark_statuses=[LandmarkStatus(*row) for row in content["landmark_statuses"]],
            events=_unpack(content["events"], EVENT_COLUMNS),
            memory_series=_unpack(content["memory_series"], MEMORY_COLUMNS),
            step_rows=_unpack(content["step_rows"], STEP_COLUMNS),
            line_rows=_unpack(content["line_rows"], LINE_COLUMNS),
            value_rows=readings_file.value_rows(content),
            samples=readings_file.sample_rows(content),
            loads=_load_rows(content["loads"]),
            sources={str(name): _text(source) for name, source in content["sources"].items()},
            warnings=[_text(warning) for warning in content["warnings"]],
            finished=True,
        )
        _check_indexes(recording)
        readings_file.check(recording)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise RecordingError(f"{path} is damaged: {type(error).__name__}: {error}.") from error
    return recording


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"text expected, {type(value).__name__} found")
    return value


def _load_rows(columns: dict[str, list]) -> list[LoadRow]:
    rows = [LoadRow(*values) for values in zip(*(columns[name] for name in LoadRow._fields), strict=True)]
    return [row._replace(disk_shape=None if row.disk_shape is None else tuple(row.disk_shape)) for row in rows]


def _check_indexes(recording: Recording) -> None:
    """Every index points at something, so that no later question fails half-way. Raises ValueError."""
    events = recording.events
    count = len(recording)
    limits = {
        "kind": (0, len(KINDS)),
        "function": (0, len(recording.functions)),
        "path": (-1, len(recording.paths)),
        "thread": (0, len(recording.threads)),
        "parent": (-1, count),
        "inputs": (0, len(recording.tensor_lists)),
        "outputs": (0, len(recording.tensor_lists)),
        "arguments": (0, len(recording.value_lists)),
        "result": (0, len(recording.value_lists)),
        "memory_before": (-1, len(recording.memory_series["time"])),
        "memory_after": (-1, len(recording.memory_series["time"])),
        "status": (0, len(STATUSES)),
    }
    for name, (low, high) in limits.items():
        values = events[name]
        if count and (values.min() < low or values.max() >= high):
            raise ValueError(f"event column {name!r} points outside its table")
    if count and (events["parent"] >= np.arange(count)).any():
        raise ValueError("an event comes before the event around it")
    lines = recording.line_rows
    for name, high in (
        ("event", count),
        ("tensors", len(recording.tensor_lists)),
        ("values", len(recording.value_lists)),
    ):
        if len(lines[name]) and (lines[name].min() < 0 or lines[name].max() >= high):
            raise ValueError(f"line column {name!r} points outside its table")
    if any(not 0 <= index < len(recording.specs) for row in recording.tensor_lists for index in row):
        raise ValueError("a tensor list points outside the tensor descriptions")
    if any(not -1 <= status.function < len(recording.functions) for status in recording.landmark_statuses):
        raise ValueError("a landmark points outside the functions")
