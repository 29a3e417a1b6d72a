"""What two loading ledgers tell differently of the same parameters. See `Recording.diff`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..recording.recording import Recording
from ..recording.rows import LoadRow
from .folding import Change

COMPARED = ("status", "file", "disk_dtype", "dtype", "device", "shape", "tied_to")


def ledger_changes(before: Recording, after: Recording) -> Iterator[Change]:
    """Changes of parameters, load by load; what one of the two did not observe is left out."""
    for number in sorted(_numbers(before) & _numbers(after)):
        old, new = _by_name(before, number), _by_name(after, number)
        for name in dict.fromkeys([*old, *new]):
            if name in old and name in new:
                yield from _changes(name, old[name], new[name])
            elif name in old:
                yield Change("gone", "parameter", name, before=old[name].status)
            else:
                yield Change("appeared", "parameter", name, after=new[name].status)


def loads_told(recording: Recording) -> str:
    """How many loads a recording has, in words."""
    count = len(_numbers(recording))
    return f"{count} load{'' if count == 1 else 's'}" if count else "no load"


def _numbers(recording: Recording) -> set[int]:
    return {row.load for row in recording.loads}


def _by_name(recording: Recording, number: int) -> dict[str, LoadRow]:
    """By parameter; where several tensors of the checkpoint fill one (experts), by both."""
    rows = [row for row in recording.loads if row.load == number]
    filled = Counter(row.parameter for row in rows)
    return {row.parameter if row.parameter and filled[row.parameter] == 1 else _from(row): row for row in rows}


def _from(row: LoadRow) -> str:
    return " from ".join(filter(None, (row.parameter, row.key)))


def _changes(name: str, old: LoadRow, new: LoadRow) -> Iterator[Change]:
    for field in COMPARED:
        values = [getattr(row, field) for row in (old, new)]
        if None not in values and values[0] != values[1]:
            yield Change(field.replace("_", " "), "parameter", name, before=str(values[0]), after=str(values[1]))
