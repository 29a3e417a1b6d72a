"""The loading ledger as tables; columns and units are told by Recording's methods."""

from __future__ import annotations

import pandas as pd

from ..events import RecordingError
from ..recording.rank_columns import ranks_of, with_rank
from ..recording.recording import Recording
from ..tables import Table
from .cells import MILLISECOND
from .requirements import require_finished


def _require_loads(recording: Recording) -> None:
    require_finished(recording)
    if not recording.loads:
        raise RecordingError("This recording has no load: put from_pretrained inside the `with record()` block.")


def parameters(recording: Recording) -> Table:
    """See `Recording.parameters`."""
    _require_loads(recording)
    rows = [
        row._asdict()
        | {
            "cast": None if None in (row.disk_dtype, row.dtype) else row.disk_dtype != row.dtype,
            "milliseconds": None if row.started is None else (row.finished - row.started) / MILLISECOND,
            "placed": None if row.placed is None else row.placed / MILLISECOND,
            "copied": None if row.copy_began is None else (row.copy_ended - row.copy_began) / MILLISECOND,
        }
        for row in recording.loads
    ]
    times = ("milliseconds", "placed", "copied", "copy_began", "copy_ended")
    columns = (
        "load", "key", "parameter", "status", "file", "begin", "end", "disk_dtype", "disk_shape", "dtype", "cast",
        "shape", "placement", "device", "nbytes", "tied_to", "thread", *times,
    )  # fmt: skip
    table = Table.of(rows, list(columns), volatile=("thread", *times))
    for name in ("begin", "end", "nbytes", "copy_began", "copy_ended"):
        table[name] = table[name].astype("Int64")
    return with_rank(recording, table, ranks_of(recording, "loads"))


def _stored_twice(table: pd.DataFrame) -> pd.Series:
    """Which rows hold a tensor under a further name whose first name is stored too."""
    by = [name for name in ("rank", "load") if name in table]
    stored = table[table["file"].notna()]
    first = set(stored[[*by, "parameter"]].itertuples(index=False, name=None))
    named = table[[*by, "tied_to"]].itertuples(index=False, name=None)
    return pd.Series([name in first for name in named], index=table.index) & table["tied_to"].notna()


def shards(recording: Recording) -> Table:
    """See `Recording.shards`."""
    table = pd.DataFrame(parameters(recording))
    # what lies in memory is not the file's, or it is the tensor of another row
    not_taken = table["status"].isin(("mismatched", "unexpected"))
    elsewhere = table["device"].eq("disk") | not_taken | _stored_twice(table)
    table = table.assign(
        disk_bytes=table["end"] - table["begin"],
        nbytes=table["nbytes"].mask(elsewhere, 0),
        cast=table["cast"].mask(elsewhere, False),
    )
    table = table[table["file"].notna()]
    by = ["rank", "load", "file"] if recording.ranks else ["load", "file"]
    grouped = table.groupby(by, sort=False)
    result = grouped.agg(
        tensors=("key", "nunique"),
        disk_bytes=("disk_bytes", lambda sizes: sizes.sum(min_count=1)),
        memory_bytes=("nbytes", lambda sizes: sizes.sum(min_count=1)),
        casts=("cast", lambda casts: int(sum(cast is True for cast in casts))),
        first=("placed", "min"),
        last=("placed", "max"),
        copy_began=("copy_began", "min"),
        copy_ended=("copy_ended", "max"),
    )
    result["copied"] = (result.pop("copy_ended") - result.pop("copy_began")) / MILLISECOND
    return Table.of(result.reset_index(), volatile=("first", "last", "copied"))
