"""Where the call probe puts what it saw: rows of integers in two blocks of bytes. Needs no torch."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence

START_FIELDS = (
    "index", "kind", "function", "path", "description", "thread", "parent", "generation", "step", "memory", "time",
)  # fmt: skip
END_FIELDS = ("index", "time", "description", "memory", "status")


class IntegerRows:
    """Rows of 64-bit integers, one after the other: `write(pack(*row))` adds one.

    Packed and not kept as Python's integers: those would take three times the memory, and their conversion time at the
    end. Extending a bytearray is atomic, so that threads may write without a lock.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        self._row = struct.Struct(f"{len(fields)}q")
        self._bytes = bytearray()
        self.pack = self._row.pack
        self.write = self._bytes.extend

    def __len__(self) -> int:
        return len(self._bytes) // self._row.size

    def packed(self, first: int = 0) -> bytearray:
        """A copy of the rows from the `first` on: a thread that is late may still write."""
        return self._bytes[first * self._row.size :]

    def rows(self, first: int = 0) -> list[tuple[int, ...]]:
        """A copy of them as tuples."""
        return list(self._row.iter_unpack(self.packed(first)))


class EventLog:
    """Collects starts and ends of calls from all threads, without locks: 128 bytes for a whole event.

    `next` of a counter is atomic, and each thread has a stack of its own.
    """

    def __init__(self) -> None:
        self.starts = IntegerRows(START_FIELDS)
        self.ends = IntegerRows(END_FIELDS)
        self.next_index = itertools.count().__next__
