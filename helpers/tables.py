"""Table: a DataFrame whose text form is stable, so that notebooks compare equal on every machine.

Times, memory, thread names and lines of source differ from run to run or from Python to Python, and move column
widths. As text a Table leaves those columns out; in HTML, and in the DataFrame itself, they are there.
"""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

MOST_ROWS = 130  # shown; the landmark table fits
WIDEST_CELL = 200  # characters, in HTML


class Table(pd.DataFrame):
    """A pandas DataFrame with `volatile` columns (names) that are shown in HTML only."""

    _metadata: ClassVar[list[str]] = ["volatile"]
    volatile: tuple[str, ...] = ()

    @property
    def _constructor(self):
        return Table

    @property
    def _constructor_sliced(self):
        return pd.Series

    @classmethod
    def of(cls, data, columns: list[str] | None = None, volatile: tuple[str, ...] = ()) -> Table:
        """A Table of `data` (as for DataFrame) whose `volatile` columns stay out of the text form."""
        table = cls(data, columns=columns)
        table.volatile = tuple(volatile)
        return table

    def __repr__(self) -> str:
        stable = [name for name in self.columns if name not in self.volatile]
        shown = pd.DataFrame(self)[stable]
        if not stable or shown.empty:
            return f"<table of {len(self)} rows: {', '.join(map(str, stable))}>"
        return shown.to_string(index=False, max_rows=MOST_ROWS, max_colwidth=48, na_rep="")

    __str__ = __repr__

    def _repr_html_(self) -> str:
        formatters = {name: _formatter(name) for name in self.columns if _formatter(name)}
        with pd.option_context("display.max_colwidth", WIDEST_CELL):
            return self._html(formatters)

    def _html(self, formatters: dict) -> str:
        return pd.DataFrame(self).to_html(
            index=False,
            max_rows=MOST_ROWS,
            escape=True,
            border=0,
            na_rep="",
            formatters=formatters,
            justify="left",
        )


_BYTES = ("memory", "resident", "anonymous", "file_mapped", "parameters", "kv_cache", "kv_bytes", "nbytes")


def _formatter(name: str):
    if name in _BYTES or str(name).startswith("cuda_"):
        return format_bytes
    if name == "milliseconds":
        return lambda value: "" if pd.isna(value) else f"{value:,.2f}"
    return None


def format_bytes(count: float | None) -> str:
    """`count` bytes for people: 1.5 MiB. Empty for None and <NA>."""
    if count is None or pd.isna(count):
        return ""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(count) >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{int(count)} B"
