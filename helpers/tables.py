"""Table: a DataFrame that reads well as text and as HTML, and whose text in a notebook is stable.

Times, memory, thread names and lines of source differ from run to run or from Python to Python, and move column
widths. A notebook shows the HTML, with all columns; the text that it keeps beside it is what nbval compares, and is
without them. Printed, and in a terminal, a Table has all of its columns.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from html import escape
from typing import ClassVar

import pandas as pd

from helpers.token_text import printable

MOST_ROWS = 130  # shown; the landmark table fits
WIDEST_CELL = 120  # characters, in HTML; the DataFrame has all of them


class Table(pd.DataFrame):
    """A pandas DataFrame with `volatile` columns (names), which the text that a notebook keeps is without."""

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
        """A Table of `data` (as for DataFrame); `volatile`: what differs from run to run."""
        table = cls(data, columns=columns)
        table.volatile = tuple(volatile)
        return table

    def __repr__(self) -> str:
        shown = pd.DataFrame(self).astype(object)
        shown = shown.where(shown.notna(), "")
        writers = {name: _for_people(write) for name in self.columns if (write := _formatter(name))}
        return self._text(shown, self.columns, writers)

    __str__ = __repr__

    def _repr_pretty_(self, printer, cycle: bool) -> None:
        """What IPython shows as text: in a notebook beside the HTML, without volatile columns; else all."""
        stable = [name for name in self.columns if name not in self.volatile]
        printer.text(self._text(pd.DataFrame(self)[stable], stable) if _is_notebook() else repr(self))

    def _text(self, shown: pd.DataFrame, names: Sequence[str], writers: dict[str, Callable] | None = None) -> str:
        if not len(names):
            return f"<table: {', '.join(map(str, self.columns))}>"
        if shown.empty:
            return f"<table of {len(self)} rows: {', '.join(map(str, names))}>"
        text = shown.to_string(
            index=self._rows_have_names(), max_rows=MOST_ROWS, max_colwidth=48, na_rep="", formatters=writers or None
        )
        return printable(text)

    def _rows_have_names(self) -> bool:
        """As after set_index or describe(), and in a transposed table: then they are shown."""
        return not pd.api.types.is_integer_dtype(self.index)

    def _repr_html_(self) -> str:
        shown = pd.DataFrame(self).head(MOST_ROWS)
        if self._rows_have_names():
            shown.insert(0, shown.index.name or "", shown.index.map(str), allow_duplicates=True)
        head = "".join(_head(name, shown.iloc[:, place]) for place, name in enumerate(shown.columns))
        columns = [[_cell(name, value) for value in shown.iloc[:, place]] for place, name in enumerate(shown.columns)]
        body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in zip(*columns, strict=True))
        rest = len(self) - len(shown)
        note = f"<p>… and {rest:,} more rows</p>" if rest else ""
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f'<div style="overflow-x:auto">{table}</div>{note}'


def _is_notebook() -> bool:
    """Whether IPython shows its results in a notebook, which has the HTML: not in a terminal."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def _for_people(write: Callable[[object], str]) -> Callable[[object], str]:
    """The formatter of a column for a cell of it that may be no number."""
    return lambda value: write(value) if pd.api.types.is_number(value) else str(value)


def _head(name: str, column: pd.Series) -> str:
    """The head of a column: above numbers as they stand, to the right."""
    side = "right" if any(_is_number(value) for value in column if not _is_missing(value)) else "left"
    return f'<th scope="col" style="text-align:{side}">{escape(str(name))}</th>'


def _is_missing(value: object) -> bool:
    return pd.api.types.is_scalar(value) and pd.isna(value)


def _is_number(value: object) -> bool:
    return pd.api.types.is_number(value) and not isinstance(value, bool)


def _cell(name: str, value: object) -> str:
    """One cell: numbers to the right, text to the left and cut to WIDEST_CELL characters, missing values empty."""
    if _is_missing(value):
        return "<td></td>"
    is_number = _is_number(value)
    # a name may be of bytes in one table and of text in another: the parameters of a model, of a logits processor
    text = _formatter(name)(value) if is_number and _formatter(name) else str(value)
    if len(text) > WIDEST_CELL:
        text = text[: WIDEST_CELL - 1] + "…"
    shown = escape(text)
    if name in _BREAKABLE or _VERSION.fullmatch(str(name)):
        shown = shown.replace("_", "_<wbr>").replace(".", ".<wbr>")
    if name == "permalink" and text:
        shown = f'<a href="{escape(str(value))}" target="_blank" rel="noopener noreferrer">source</a>'
    side = "right" if is_number else "left"
    return f'<td style="text-align:{side};max-width:24em;overflow-wrap:break-word">{shown}</td>'


_BREAKABLE = ("article", "function_4_47_1", "here")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
"""Columns of names that may be broken at a dot or an underscore, so that the tables of `course` and `across_versions`
fit a page; those of the latter are called after versions."""

_BYTES = (
    "memory",
    "resident",
    "anonymous",
    "file_mapped",
    "parameters",
    "parameters_virtual",
    "activations",
    "kv_cache",
    "kv_bytes",
    "nbytes",
    "disk_bytes",
    "memory_bytes",
    "weights",  # the columns of a forecast
    "logits",
    "file_pages",
    "reserve",
    "total",
)


def _formatter(name: str):
    if name in _BYTES or str(name).startswith("cuda_"):
        return format_bytes
    if name in ("milliseconds", "placed", "first", "last"):
        return lambda value: f"{value:,.2f}"
    if name in ("min", "max", "mean"):
        return str  # 1e+308; pandas would write all of its digits
    return None


def format_bytes(count: float | None) -> str:
    """`count` bytes for people: 1.5 MiB. Empty for None and <NA>."""
    if count is None or pd.isna(count):
        return ""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(count) >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{int(count)} B"
