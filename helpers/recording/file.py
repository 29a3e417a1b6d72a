"""The file of a recording: JSON with a schema version, compressed with gzip except where its name ends in ".json".

Read as data, never unpickled, never run; whether it is compressed is told by its content, not by its name.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import zlib
from pathlib import Path

import numpy as np

from ..events import (
    CACHE_COLUMNS,
    EVENT_COLUMNS,
    LINE_COLUMNS,
    MEMORY_COLUMNS,
    NOT_OBSERVED,
    STEP_COLUMNS,
    RecordingError,
)
from ..whole_file import write_whole
from . import file_checks as checks
from . import rank_columns, readings_file
from .recording import Recording
from .rows import Function, LandmarkStatus, LoadRow, ModuleRow, TensorSpec, WeightRow

FORMAT = "transformers call path recording"
SCHEMA = 1  # of a recording of one process
SCHEMA_OF_RANKS = 2  # of a merged one, which would be misread as one process by what reads schema 1 only
PLAIN = ".json"  # the end of a name whose content is text, for an editor or jq
LARGEST = 2**28  # bytes of JSON; a larger file is refused rather than filling the memory
# that older files do not have: not observed there
LATER_COLUMNS = {"step_rows": ("tokens",), "memory_series": ("parameters_virtual",)}
_ESCAPED_SURROGATE = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F]")


def document(recording: Recording) -> dict:
    """The recording as plain JSON values."""
    return {
        "format": FORMAT,
        "schema": SCHEMA_OF_RANKS if recording.ranks else SCHEMA,
        "environment": recording.environment,
        "functions": [list(function) for function in recording.functions],
        "paths": recording.paths,
        "modules": [list(module) for module in recording.module_rows],
        "threads": recording.threads,
        "specs": [[*spec[:1], list(spec.shape), *spec[2:]] for spec in recording.specs],
        "tensor_lists": [list(tensors) for tensors in recording.tensor_lists],
        "value_lists": [[list(pair) for pair in values] for values in recording.value_lists],
        "landmark_statuses": [list(status) for status in recording.landmark_statuses],
        "events": _pack(recording.events),
        "memory_series": _pack(recording.memory_series),
        "step_rows": _pack(recording.step_rows),
        "cache_rows": _pack(recording.cache_rows),
        "line_rows": _pack(recording.line_rows),
        "loads": _by_column(LoadRow, recording.loads),
        "weights": _by_column(WeightRow, recording.weight_rows),
        "sources": recording.sources,
        "warnings": recording.warnings,
        **({"ranks": rank_columns.packed(recording)} if recording.ranks else {}),
        **readings_file.document(recording),
    }


def _by_column(kind: type, rows: list[tuple]) -> dict[str, list]:
    return {name: [getattr(row, name) for row in rows] for name in kind._fields}


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


def _unpack(content: dict, table: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    packed = checks.a_dict(content[table])
    later = [name for name in LATER_COLUMNS.get(table, ()) if name not in packed]
    columns = {name: checks.integers(name, packed[name]) for name in names if name not in later}
    columns |= {name: np.full(len(columns[names[0]]), NOT_OBSERVED, dtype=np.int64) for name in later}
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
    if path.is_dir():  # also of an empty name
        raise RecordingError(f"{path} is a folder: name the file to write, for example {path / 'run.json.gz'}.")
    text = json.dumps(document(recording), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = text.encode("utf-8")
    if len(data) > LARGEST:
        raise RecordingError(
            f"This recording has {len(data)} bytes, more than the {LARGEST} that a file may hold: record fewer steps "
            "in full, or a coarser zoom."
        )
    return write_whole(path, data if path.name.endswith(PLAIN) else gzip.compress(data, compresslevel=9, mtime=0))


def load(path: Path) -> Recording:
    """See `Recording.load`."""
    try:
        data = _read(path)
    except FileNotFoundError:
        raise RecordingError(f"There is no recording at {path}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise RecordingError(
            f"{path} is not a readable recording ({error}): it is damaged or another kind of file."
        ) from error
    if len(data) > LARGEST:
        raise RecordingError(f"{path} unpacks to more than {LARGEST} bytes and is refused.")
    try:
        content = json.loads(data, parse_constant=_refuse_constant)
        if _ESCAPED_SURROGATE.search(data):
            json.dumps(content, ensure_ascii=False).encode("utf-8")  # half a character is no text: nothing can save it
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path} is damaged: its content is not JSON ({error}).") from error
    return _from_document(content, path)


def _read(path: Path) -> bytes:
    """The JSON of the file, to one byte more than is accepted."""
    with path.open("rb") as file:
        is_plain = file.read(1) == b"{"
        file.seek(0)
        with contextlib.nullcontext(file) if is_plain else gzip.GzipFile(fileobj=file) as unpacked:
            return unpacked.read(LARGEST + 1)


def _from_document(content: object, path: Path) -> Recording:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RecordingError(f"{path} is not a recording of the call path.")
    schema = content.get("schema")
    if type(schema) is not int or not SCHEMA <= schema <= SCHEMA_OF_RANKS:
        raise RecordingError(
            f"{path} has schema {schema!r}; this version reads up to {SCHEMA_OF_RANKS}. Update the helpers package."
        )
    try:
        recording = Recording(
            environment=checks.environment(content["environment"]),
            functions=_rows(Function, content["functions"]),
            paths=checks.texts(content["paths"]),
            module_rows=_rows(ModuleRow, content.get("modules", [])),
            threads=checks.texts(content["threads"]),
            specs=_rows(TensorSpec, content["specs"]),
            tensor_lists=[tuple(checks.integers("tensor_lists", row).tolist()) for row in content["tensor_lists"]],
            value_lists=[_named_values(row) for row in content["value_lists"]],
            landmark_statuses=_rows(LandmarkStatus, content["landmark_statuses"]),
            events=_unpack(content, "events", EVENT_COLUMNS),
            memory_series=_unpack(content, "memory_series", MEMORY_COLUMNS),
            step_rows=_unpack(content, "step_rows", STEP_COLUMNS),
            cache_rows=_unpack(content, "cache_rows", CACHE_COLUMNS) if "cache_rows" in content else _no_cache_rows(),
            line_rows=_unpack(content, "line_rows", LINE_COLUMNS),
            value_rows=readings_file.value_rows(content),
            samples=readings_file.sample_rows(content),
            loads=checks.rows(LoadRow, content["loads"]),
            weight_rows=checks.rows(WeightRow, content["weights"]) if "weights" in content else [],
            sources={name: checks.text(source) for name, source in checks.a_dict(content["sources"]).items()},
            warnings=checks.texts(content["warnings"]),
            ranks=rank_columns.unpacked(content["ranks"]) if schema == SCHEMA_OF_RANKS else {},
            finished=True,
        )
        checks.check(recording)
        readings_file.check(recording)
        rank_columns.checked(recording)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise RecordingError(f"{path} is damaged: {type(error).__name__}: {error}.") from error
    return recording


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number that a recording holds")


def _rows(kind: type, rows: object) -> list[tuple]:
    return [checks.row(kind, row) for row in checks.a_list(rows)]


def _named_values(row: object) -> tuple[tuple[str, object], ...]:
    return tuple((checks.text(name), checks.plain(value)) for name, value in checks.a_list(row))


def _no_cache_rows() -> dict[str, np.ndarray]:
    return {name: np.zeros(0, dtype=np.int64) for name in CACHE_COLUMNS}
