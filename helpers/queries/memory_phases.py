"""The memory series by phase of the call: warm-up of the allocator, load, pipeline, prefill, decode."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..events import MODULE, NOT_OBSERVED, RecordingError
from ..recording.rank_columns import ranks_of, with_rank
from ..recording.recording import Recording
from ..tables import Table
from .requirements import require_finished

# Landmarks that are a phase of their own. The warm-up lies within the load.
LANDMARKS = {"load.warmup": "allocator warm-up", "model.from_pretrained": "load", "pipe.factory": "pipeline"}
AT_END = ("resident", "anonymous", "file_mapped", "parameters", "kv_cache", "cuda_allocated", "cuda_reserved")
VOLATILE = (*AT_END, "cuda_peak", "activations")


def memory_phases(recording: Recording) -> Table:
    """See `Recording.memory_phases`."""
    require_finished(recording)
    if "memory" not in recording.environment.get("zoom", ()):
        raise RecordingError('This recording has no memory series. Record it with record("memory") or plain record().')
    ranks, rows = [], []
    for rank in range(recording.environment["world_size"] if recording.ranks else 1):
        spans = sorted(_spans(recording, rank), key=lambda span: (span[1], -span[2]))
        rows += [_row(recording, rank, name, first, last) for name, first, last in spans]
        ranks += [rank] * len(spans)
    table = Table.of(
        rows,
        ["phase", *AT_END, "cuda_peak", "peak_is", "activations", "activations_are"],
        volatile=(*VOLATILE, "peak_is", "activations_are"),
    )
    for name in VOLATILE:
        table[name] = table[name].astype("Int64")
    return with_rank(recording, table, np.array(ranks, dtype=np.int64))


def _spans(recording: Recording, rank: int) -> Iterator[tuple[str, int, int]]:
    """(phase, first sample, last sample) of each phase of this rank that was observed."""
    events = recording.events
    functions = {status.id: status.function for status in recording.landmark_statuses}
    for landmark, name in LANDMARKS.items():
        function = functions.get(landmark, NOT_OBSERVED)
        calls = np.flatnonzero((events["function"] == function) & (function != NOT_OBSERVED))
        for event in calls.tolist():
            first, last = int(events["memory_before"][event]), int(events["memory_after"][event])
            own = ranks_of(recording, "threads")[events["thread"][event]] == rank
            if own and NOT_OBSERVED not in (first, last):
                yield name, first, last
    steps = recording.step_rows
    samples = recording.memory_series["time"]
    own = (ranks_of(recording, "step_rows") == rank) & (steps["memory"] != NOT_OBSERVED)
    for generation in sorted(set(steps["generation"][own].tolist())):
        for name, chosen in (("prefill", steps["step"] == 0), ("decode", steps["step"] > 0)):
            rows = np.flatnonzero(own & chosen & (steps["generation"] == generation))
            if len(rows):
                before = np.flatnonzero(
                    (samples <= steps["start"][rows[0]]) & (ranks_of(recording, "memory_series") == rank)
                )
                if len(before):
                    yield name, int(before[-1]), int(steps["memory"][rows[-1]])


def _row(recording: Recording, rank: int, name: str, first: int, last: int) -> dict[str, object]:
    series = {column: values.tolist() for column, values in recording.memory_series.items()}
    peak, before = series["cuda_peak"][last], series["cuda_peak"][first]
    row: dict[str, object] = {"phase": name}
    row |= {column: None if series[column][last] == NOT_OBSERVED else series[column][last] for column in AT_END}
    row |= _activations(recording, rank, first, last)
    if peak == NOT_OBSERVED:
        return row | {"cuda_peak": None, "peak_is": "not observed: no GPU was in use"}
    # the counter is the process's, and only its user resets it: what did not rise was no higher than before
    rose = before == NOT_OBSERVED or peak > before
    if rose and row["activations"] is not None:
        cache = series["kv_cache"][last]
        held = max(series["parameters"][last], 0) + max(cache, 0)
        less = "parameters" if cache == NOT_OBSERVED else "parameters and KV cache"
        row |= {"activations": max(peak - held, 0), "activations_are": f"the peak less {less}"}
    return row | {
        "cuda_peak": peak,
        "peak_is": "of this phase" if rose else "of an earlier phase: this one's is at most it",
    }


def _activations(recording: Recording, rank: int, first: int, last: int) -> dict[str, object]:
    """The most that one module call of the phase got or gave: at least this lay in memory at one time."""
    if "modules" not in recording.environment.get("zoom", ()):
        return {"activations": None, "activations_are": 'not observed: record("modules", "memory")'}
    events, times = recording.events, recording.memory_series["time"]
    chosen = (events["kind"] == MODULE) & (events["start"] >= times[first]) & (events["start"] <= times[last])
    chosen &= ranks_of(recording, "threads")[events["thread"]] == rank
    if not chosen.any():
        return {"activations": None, "activations_are": "not observed: no module call was kept in this phase"}
    lists = {*events["inputs"][chosen].tolist(), *events["outputs"][chosen].tolist()}
    most = max(_bytes_without_cache(recording, tensors) for tensors in lists)
    return {"activations": most, "activations_are": "at least: the most that one module call got or gave"}


def _bytes_without_cache(recording: Recording, tensors: int) -> int:
    specs = [recording.specs[index] for index in recording.tensor_lists[tensors]]
    return sum(spec.nbytes or 0 for spec in specs if "past_key_value" not in spec.path and spec.device != "meta")
