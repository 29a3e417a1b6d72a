"""What accelerate's hooks moved, as tables; columns and units are told by Recording's methods."""

from __future__ import annotations

import numpy as np

from ..events import MODULE, NOT_OBSERVED, RecordingError
from ..probes.offload import FROM, HOOK, MOVED, TO
from ..recording.rank_columns import event_ranks, with_rank
from ..recording.recording import Recording
from ..tables import Table
from .cells import MILLISECOND, missing
from .requirements import require_finished, require_kept


def transfers(recording: Recording, step: int | None) -> Table:
    """See `Recording.transfers`."""
    require_finished(recording)
    if "modules" not in recording.environment.get("zoom", ()):
        raise RecordingError(
            'This recording has no module calls: record them with record("modules") or plain record().'
        )
    columns = recording.events
    hooks = [index for index, function in enumerate(recording.functions) if function.qualname == HOOK]
    chosen = np.isin(columns["function"], hooks)
    if step is not None:
        require_kept(recording, step)
        chosen &= columns["step"] == step
    rows = [_row(recording, event) for event in np.flatnonzero(chosen).tolist()]
    kept = [row for row in rows if row["tensors"]]  # with the zoom "calls" those that move nothing are events too
    names = ["event", "path", "generation", "step", "tensors", "nbytes", "source", "to", "milliseconds"]
    table = Table.of(kept, names, volatile=("milliseconds",))
    for name in ("generation", "step"):
        table[name] = missing(table[name])
    return with_rank(recording, table, event_ranks(recording)[table["event"].astype(int)])


def _row(recording: Recording, event: int) -> dict[str, object]:
    columns = recording.events
    moved = [spec for spec in recording.tensors(event)[0] if spec.path.startswith(MOVED)]
    values = dict(recording.value_lists[columns["arguments"][event]])
    return {
        "event": event,
        "path": _module_path(recording, event),
        "generation": columns["generation"][event],
        "step": columns["step"][event],
        "tensors": len(moved),
        "nbytes": sum(spec.nbytes or 0 for spec in moved),
        "source": values.get(FROM),
        "to": values.get(TO),
        "milliseconds": (columns["end"][event] - columns["start"][event]) / MILLISECOND,
    }


def _module_path(recording: Recording, event: int) -> str:
    """The module in whose call an event is: the innermost around it."""
    columns = recording.events
    while event != NOT_OBSERVED and columns["kind"][event] != MODULE:
        event = columns["parent"][event]
    return recording.paths[columns["path"][event]] if event != NOT_OBSERVED else ""
