"""Recordings of the ranks of one run, joined into one: a lane for each thread of each rank, on one clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ..events import NOT_OBSERVED, RecordingError
from ..process_group import BEGAN
from .columns import TICK
from .rank_columns import RANKED, row_count
from .recording import Recording
from .rows import LoadRow

_SAME = ("transformers", "torch", "world_size", "run", "zoom")  # of the environment: what must be alike in all ranks


def merge(recordings: Iterable[Recording | str | Path]) -> Recording:
    """See `Recording.merge`."""
    if isinstance(recordings, str | Path | Recording) or not isinstance(recordings, Iterable):
        raise RecordingError(f"merge() was given {_told(recordings)}: give it a list, with one recording per rank.")
    recordings = list(recordings)
    for part in recordings:
        if not isinstance(part, str | Path | Recording):
            raise RecordingError(f"merge() was given {_told(part)} in the place of a recording, or of the path of one.")
    ranks = _checked([part if isinstance(part, Recording) else Recording.load(part) for part in recordings])
    merged = Recording(finished=True)
    began = [int(part.environment[BEGAN]) for part in ranks]
    orders = _order(ranks, [(time - min(began)) // TICK * TICK for time in began])
    for part, time, places in zip(ranks, began, orders, strict=True):
        _add(merged, part, (time - min(began)) // TICK * TICK, places)
    _put_in_order(merged, np.concatenate(orders))
    merged.environment = _environment(ranks, min(began))
    return merged


def _told(given: object) -> str:
    return f"{str(given)!r} alone" if isinstance(given, str | Path) else f"an object of class {type(given).__name__}"


def _checked(parts: Sequence[Recording]) -> list[Recording]:
    """The recordings in the order of their ranks. Raises RecordingError unless they are all ranks of one run."""
    if not parts:
        raise RecordingError("merge() was given no recording: give it one per rank, or the paths of their files.")
    by_rank: dict[int, Recording] = {}
    for part in parts:
        if not part.finished:
            raise RecordingError("A recording is still running: merge after every rank's recording has ended.")
        if part.ranks:
            raise RecordingError("A recording of several ranks is merged already: give merge() one recording per rank.")
        rank = part.environment.get("rank")
        if not isinstance(rank, int) or not isinstance(part.environment.get(BEGAN), int):
            raise RecordingError(
                "A recording does not say which rank it is of: record each rank with "
                "python -m torch.distributed.run --nproc-per-node N -m helpers record SCRIPT.py -o run.json.gz"
            )
        if rank in by_rank:
            raise RecordingError(f"There are two recordings of rank {rank}: give merge() one per rank, of one run.")
        by_rank[rank] = part
    for name in _SAME:
        told = {rank: by_rank[rank].environment.get(name) for rank in sorted(by_rank)}
        if len({str(value) for value in told.values()}) > 1:
            differing = ", ".join(f"rank {rank}: {value}" for rank, value in told.items())
            raise RecordingError(f"These recordings are not of one run: {name} differs ({differing}).")
    size = next(iter(by_rank.values())).environment["world_size"]
    lost = [str(rank) for rank in range(size) if rank not in by_rank]
    if lost:
        raise RecordingError(
            f"Of {size} ranks, the recording of rank {', '.join(lost)} is missing. A rank that was killed saves none: "
            "look at what the run printed."
        )
    return [by_rank[rank] for rank in range(size)]


def _order(ranks: Sequence[Recording], offsets: Sequence[int]) -> list[np.ndarray]:
    """The place of each rank's events among all, by the time at which they began; equal times by rank."""
    starts = np.concatenate([part.events["start"] + offset for part, offset in zip(ranks, offsets, strict=True)])
    places = np.empty(len(starts), dtype=np.int64)
    places[np.argsort(starts, kind="stable")] = np.arange(len(starts))
    return np.split(places, np.cumsum([len(part) for part in ranks])[:-1])


def _add(merged: Recording, part: Recording, offset: int, places: np.ndarray) -> None:
    """Append one rank's tables, with its indexes moved and its times put on the common clock."""
    base = {
        "function": len(merged.functions),
        "path": len(merged.paths),
        "thread": len(merged.threads),
        "specs": len(merged.specs),
        "tensors": len(merged.tensor_lists),
        "values": len(merged.value_lists),
        "memory": len(merged.memory_series["time"]),
    }
    rank = part.environment["rank"]
    merged.functions += part.functions
    merged.paths += part.paths
    merged.module_rows += part.module_rows
    merged.threads += [f"rank {rank}: {name}" for name in part.threads]
    merged.specs += part.specs
    merged.tensor_lists += [tuple(spec + base["specs"] for spec in row) for row in part.tensor_lists]
    merged.value_lists += part.value_lists
    _extend(merged.events, _moved_events(part, offset, base, places))
    _extend(merged.memory_series, part.memory_series | {"time": part.memory_series["time"] + offset})
    _extend(merged.step_rows, _moved(part.step_rows, offset, {"memory": base["memory"]}))
    _extend(merged.cache_rows, part.cache_rows)
    merged.weight_rows += part.weight_rows
    moves = {"tensors": base["tensors"], "values": base["values"]}
    _extend(merged.line_rows, _moved(part.line_rows, offset, moves) | {"event": places[part.line_rows["event"]]})
    _extend(merged.value_rows, part.value_rows | {"event": places[part.value_rows["event"]]})
    merged.loads += [_moved_load(row, offset) for row in part.loads]
    merged.samples += part.samples
    merged.sources |= part.sources
    merged.warnings += [f"rank {rank}: {warning}" for warning in part.warnings]
    if not merged.landmark_statuses:  # of one version, so that all ranks have the first one's
        merged.landmark_statuses = list(part.landmark_statuses)
    for name in RANKED:
        known = merged.ranks.get(name, np.zeros(0, dtype=np.int64))
        merged.ranks[name] = np.concatenate([known, np.full(row_count(part, name), rank, dtype=np.int64)])


def _moved(columns: dict[str, np.ndarray], offset: int, moves: dict[str, int]) -> dict[str, np.ndarray]:
    """Columns with times later by `offset` and indexes higher by `moves`; what was not observed stays so."""
    moved = dict(columns)
    for name in ("start", "end"):
        if name in moved:
            moved[name] = moved[name] + offset
    for name, base in moves.items():
        moved[name] = np.where(columns[name] == NOT_OBSERVED, NOT_OBSERVED, columns[name] + base)
    return moved


def _moved_events(part: Recording, offset: int, base: dict[str, int], places: np.ndarray) -> dict[str, np.ndarray]:
    moves = {"function": base["function"], "path": base["path"], "thread": base["thread"]}
    moves |= dict.fromkeys(("inputs", "outputs"), base["tensors"]) | dict.fromkeys(
        ("arguments", "result"), base["values"]
    )
    moves |= dict.fromkeys(("memory_before", "memory_after"), base["memory"])
    moved = _moved(part.events, offset, moves)
    parents = part.events["parent"]
    if len(parents):
        moved["parent"] = np.where(parents == NOT_OBSERVED, NOT_OBSERVED, places[parents])
    return moved


def _moved_load(row: LoadRow, offset: int) -> LoadRow:
    times = {name: getattr(row, name) for name in ("started", "finished", "placed")}
    return row._replace(**{name: None if time is None else time + offset for name, time in times.items()})


def _extend(columns: dict[str, np.ndarray], further: dict[str, np.ndarray]) -> None:
    for name, values in columns.items():
        columns[name] = np.concatenate([values, further[name].astype(values.dtype)])


def _put_in_order(merged: Recording, places: np.ndarray) -> None:
    """Events by time, lines by event; equal functions, paths and descriptions are kept once."""
    order = np.argsort(places)
    merged.events = {name: values[order] for name, values in merged.events.items()}
    by_event = np.argsort(merged.line_rows["event"], kind="stable")
    merged.line_rows = {name: values[by_event] for name, values in merged.line_rows.items()}
    functions = _once(merged.functions)
    merged.functions = list(functions[0])
    merged.landmark_statuses = [
        status if status.function == NOT_OBSERVED else status._replace(function=int(functions[1][status.function]))
        for status in merged.landmark_statuses
    ]
    paths = _once([*zip_longest(merged.paths, merged.module_rows)])
    merged.paths = [path for path, _ in paths[0]]
    merged.module_rows = [module for _, module in paths[0] if module is not None]
    specs = _once(merged.specs)
    merged.specs = list(specs[0])
    tensors = _once([tuple(int(specs[1][spec]) for spec in row) for row in merged.tensor_lists])
    merged.tensor_lists = list(tensors[0])
    # bool, int and float compare equal, so that their types belong to what is compared
    values = _once([(row, tuple(type(value) for _, value in row)) for row in merged.value_lists])
    merged.value_lists = [row for row, _ in values[0]]
    renumbered = {
        "function": functions[1], "path": paths[1], "inputs": tensors[1], "outputs": tensors[1],
        "arguments": values[1], "result": values[1],
    }  # fmt: skip
    for name, numbers in renumbered.items():
        merged.events[name] = _renumbered(merged.events[name], numbers)
    for name, numbers in (("tensors", tensors[1]), ("values", values[1])):
        merged.line_rows[name] = _renumbered(merged.line_rows[name], numbers)


def _once(rows: Sequence) -> tuple[list, np.ndarray]:
    """The distinct rows in order, and the new number of each."""
    known: dict[object, int] = {}
    numbers = [known.setdefault(row, len(known)) for row in rows]
    return list(known), np.asarray(numbers, dtype=np.int64)


def _renumbered(indexes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    if not len(indexes) or not len(numbers):
        return indexes
    return np.where(indexes == NOT_OBSERVED, NOT_OBSERVED, numbers[indexes])


def _environment(ranks: Sequence[Recording], began: int) -> dict:
    """That of the first rank, with what differs told by rank."""
    merged = {name: value for name, value in ranks[0].environment.items() if name != "rank"} | {BEGAN: began}
    for name in ("ended_by", "out_of_memory", "steps_in_full", "python", "platform", "torch_threads"):
        told = [part.environment.get(name) for part in ranks]
        if any(value != told[0] for value in told):
            merged[name] = ", ".join(f"rank {rank}: {value}" for rank, value in enumerate(told))
    return merged
