"""Which rank of how many this process is, as torch.distributed.run tells it. Imports no torch.

Source of the names: "torchrun", section "Environment Variables", in the documentation of PyTorch.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from .events import RecordingError

_VARIABLES = ("RANK", "WORLD_SIZE")
BEGAN = "began"
"""In the environment of a rank's recording: nanoseconds since the epoch at which it began: ranks on one clock."""


class Rank(NamedTuple):
    """This process's place in its group: `number` from 0, `of` processes in all."""

    number: int
    of: int


def own_rank() -> Rank | None:
    """The rank that RANK and WORLD_SIZE give this process; None where there is no group, or a group of one.

    Raises RecordingError when they are no numbers, or do not fit each other.
    """
    told = [os.environ.get(name, "").strip() for name in _VARIABLES]
    if not all(told):
        return None
    if not all(text.isascii() and text.isdecimal() for text in told) or not int(told[0]) < int(told[1]):
        raise RecordingError(
            f"RANK={told[0]!r} and WORLD_SIZE={told[1]!r} do not name a rank of a group: start the ranks with "
            "python -m torch.distributed.run, or unset both."
        )
    number, of = map(int, told)
    return Rank(number, of) if of > 1 else None


def described(began: int) -> dict[str, int | str]:
    """What the environment of a rank's recording tells of its place: rank, world_size, BEGAN, and `run`, the id of the
    run where its launcher gave one (--standalone and --rdzv-id do); {} without a group.

    `began`: when the recording began, in nanoseconds of time.perf_counter_ns().
    """
    rank = own_rank()
    if rank is None:
        return {}
    run = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    named = {} if run in ("", "none") else {"run": run}  # "none" is what torch.distributed.run calls a run without
    return {"rank": rank.number, "world_size": rank.of, **named, BEGAN: began + _epoch_of_the_counter()}


def _epoch_of_the_counter() -> int:
    """What time.perf_counter_ns() was 0 at, in nanoseconds since the epoch.

    The two clocks are read one after the other, and the system may stop a process in between: the closest of a few
    readings counts.
    """
    readings = []
    for _ in range(8):
        before, now, after = time.perf_counter_ns(), time.time_ns(), time.perf_counter_ns()
        readings.append((after - before, now - (before + after) // 2))
    return min(readings)[1]


def path_of_rank(path: Path, rank: int) -> Path:
    """The file of one rank's recording: run.json.gz is run.rank1.json.gz for rank 1."""
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".json.gz") else path.suffix
    return path.with_name(f"{path.name.removesuffix(suffix)}.rank{rank}{suffix}")
