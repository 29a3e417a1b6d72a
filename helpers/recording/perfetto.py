"""A recording as a Chrome trace: the trace event format, in JSON, which Perfetto and chrome://tracing open.

Format: "Trace Event Format", section "JSON Object Format"; times are microseconds. The Perfetto UI reads these files
in the browser: nothing is uploaded.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..events import KINDS, MODULE, NOT_OBSERVED, OPEN, STATUSES, RecordingError
from ..queries.requirements import require_finished
from ..whole_file import write_whole
from .rank_columns import event_ranks, ranks_of
from .recording import Recording
from .rows import TensorSpec

MICROSECOND = 1e3  # nanoseconds
PROCESS = 1  # the recording does not keep the process's number
NEXT_RANK = 1_000_000  # each rank of a merged recording is a process, with a lane of its own for the steps
# Of generation steps; the threads follow, then the steps of further threads. A lane of the process's number would be
# its main thread.
STEP_LANE = 2
_BYTES = ("resident", "anonymous", "file_mapped", "parameters", "kv_cache", "cuda_allocated", "cuda_reserved",
          "cuda_peak")  # fmt: skip


def write(recording: Recording, path: Path) -> Path:
    """See `Recording.to_perfetto`."""
    require_finished(recording)
    if path.is_dir():
        raise RecordingError(
            f"{path} is a folder: name the file to write, for example {path / 'run.perfetto.json.gz'}."
        )
    text = json.dumps(document(recording), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = text.encode("utf-8", errors="replace")
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    return write_whole(path, data)


def document(recording: Recording) -> dict:
    """The trace as plain JSON values; every number is finite."""
    return {
        "displayTimeUnit": "ms",
        "otherData": {name: _plain(value) for name, value in recording.environment.items()},
        "traceEvents": [*_lanes(recording), *_steps(recording), *_calls(recording), *_memory(recording)],
    }


def _lanes(recording: Recording) -> Iterator[dict]:
    """Names and order of the processes (one, or one per rank) and their lanes."""
    name = f"transformers {recording.environment.get('transformers', '')}".strip()
    for rank in range(recording.environment["world_size"] if recording.ranks else 1):
        yield _metadata("process_name", rank, 0, {"name": f"rank {rank}: {name}" if recording.ranks else name})
        yield from _lane(rank, STEP_LANE + NEXT_RANK * rank, "generation steps")
    for (rank, thread), lane in _step_lanes(recording).items():
        if lane != STEP_LANE + NEXT_RANK * rank:
            yield from _lane(rank, lane, f"generation steps of {recording.threads[thread]}")
    threads = zip(recording.threads, ranks_of(recording, "threads").tolist(), strict=True)
    for lane, (thread, rank) in enumerate(threads, start=STEP_LANE + 1):
        yield from _lane(rank, lane, thread)


def _generating(recording: Recording) -> dict[tuple[int, int], int]:
    """The thread of each (rank, generation), in the order in which they began."""
    columns = recording.events
    inside = np.flatnonzero(columns["generation"] != NOT_OBSERVED)
    pairs = zip(event_ranks(recording)[inside].tolist(), columns["generation"][inside].tolist(), strict=True)
    found: dict[tuple[int, int], int] = {}
    for pair, thread in zip(pairs, columns["thread"][inside].tolist(), strict=True):
        found.setdefault(pair, thread)
    return found


def _step_lanes(recording: Recording) -> dict[tuple[int, int], int]:
    """The lane of the steps by (rank, thread): slices of a lane may not overlap, and two threads may generate at once.
    Each thread but the first of its rank has a further lane, after those of all threads."""
    lanes: dict[tuple[int, int], int] = {}
    further = itertools.count(STEP_LANE + 1 + len(recording.threads))
    for (rank, _), thread in _generating(recording).items():
        if (rank, thread) not in lanes:
            is_first = all(known != rank for known, _ in lanes)
            lanes[rank, thread] = STEP_LANE + NEXT_RANK * rank if is_first else next(further)
    return lanes


def _lane(rank: int, lane: int, name: str) -> Iterator[dict]:
    yield _metadata("thread_name", rank, lane, {"name": name})
    yield _metadata("thread_sort_index", rank, lane, {"sort_index": lane})


def _metadata(name: str, rank: int, lane: int, args: dict) -> dict:
    return {"name": name, "ph": "M", "pid": PROCESS + NEXT_RANK * rank, "tid": lane, "ts": 0, "args": args}


def _slice(name: str, category: str, rank: int, lane: int, start: int, end: int, args: dict) -> dict:
    """A complete event, from start to end in nanoseconds."""
    return {
        "name": name, "cat": category, "ph": "X", "pid": PROCESS + NEXT_RANK * rank, "tid": lane,
        "ts": start / MICROSECOND, "dur": (end - start) / MICROSECOND, "args": args,
    }  # fmt: skip


def _steps(recording: Recording) -> Iterator[dict]:
    rows = {name: values.tolist() for name, values in recording.step_rows.items()}
    ranks = ranks_of(recording, "step_rows").tolist()
    threads, lanes = _generating(recording), _step_lanes(recording)
    for place, step in enumerate(rows["step"]):
        name = "prefill" if step == 0 else f"decode step {step}"
        args = {"generation": rows["generation"][place], "events": "in full" if rows["kept"][place] else "not kept"}
        for column in ("kv_tokens", "kv_bytes"):
            if rows[column][place] != NOT_OBSERVED:
                args[column] = rows[column][place]
        rank = ranks[place]
        thread = threads.get((rank, rows["generation"][place]))
        lane = lanes.get((rank, thread), STEP_LANE + NEXT_RANK * rank)  # a file may have steps of no event
        yield _slice(name, "step", rank, lane, rows["start"][place], rows["end"][place], args)


def _calls(recording: Recording) -> Iterator[dict]:
    columns = {name: values.tolist() for name, values in recording.events.items()}
    ids = _landmark_ids(recording)
    ranks = event_ranks(recording).tolist()
    for event in range(len(recording)):
        function = recording.functions[columns["function"][event]]
        kind, status = columns["kind"][event], columns["status"][event]
        name = function.qualname
        if kind == MODULE:
            name = f"{recording.paths[columns['path'][event]]} {name.removesuffix('.forward')}".strip()
        args = {"event": event, "function": f"{function.module}:{function.qualname}", "location": function.location}
        if columns["function"][event] in ids:
            args["landmark"] = ids[columns["function"][event]]
        if columns["step"][event] != NOT_OBSERVED:
            args["step"] = columns["step"][event]
        if status:
            args["status"] = "open when the recording ended" if status == OPEN else STATUSES[status]
        inputs, outputs = recording.tensors(event)
        args |= {
            "inputs": _tensors(inputs),
            "arguments": _values(recording, columns["arguments"][event]),
            "outputs": _tensors(outputs),
            "result": _values(recording, columns["result"][event]),
        }
        lane = STEP_LANE + 1 + columns["thread"][event]
        args = {name: value for name, value in args.items() if value != {}}
        yield _slice(name, KINDS[kind], ranks[event], lane, columns["start"][event], columns["end"][event], args)


def _landmark_ids(recording: Recording) -> dict[int, str]:
    """Ids by function; a function may play several landmarks."""
    ids: dict[int, str] = {}
    for status in recording.landmark_statuses:
        if status.function != NOT_OBSERVED:
            ids[status.function] = ", ".join(filter(None, (ids.get(status.function), status.id)))
    return ids


def _tensors(specs: list[TensorSpec]) -> dict[str, str]:
    return {spec.path: f"{spec.shape_text} {spec.dtype} {spec.device}" for spec in specs}


def _values(recording: Recording, index: int) -> dict[str, object]:
    return {name: _plain(value) for name, value in recording.value_lists[index]}


def _plain(value: object) -> object:
    """A value as JSON has it; anything that it has not becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else str(value)


def _memory(recording: Recording) -> Iterator[dict]:
    """One counter per series, so that a viewer does not add resident memory to its own parts."""
    series = {name: values.tolist() for name, values in recording.memory_series.items()}
    ranks = ranks_of(recording, "memory_series").tolist()
    for name in _BYTES:
        for time, count, rank in zip(series["time"], series[name], ranks, strict=True):
            if count != NOT_OBSERVED:
                yield {
                    "name": name, "cat": "memory", "ph": "C", "pid": PROCESS + NEXT_RANK * rank, "tid": 0,
                    "ts": time / MICROSECOND, "args": {"bytes": count},
                }  # fmt: skip
