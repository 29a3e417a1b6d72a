"""The form of a committed notebook: what is taken out before it is written, and what must not be in it."""

import re
import statistics
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from helpers.project import ROOT

LONGEST_CELL = 25
"""Lines of the longest code cell."""
MEDIAN_CELL = 7
"""Lines of the median code cell, at most."""

# A path that names one machine or one person: the usual home and temporary folders, Windows' too, and, whatever
# they are called, this checkout and this home.
_OWN_FOLDERS = "".join(rf"|{re.escape(path)}\b" for path in (str(ROOT), str(Path.home())) if len(path) > 3)
_MACHINE_PATH = re.compile(
    r"(?<![\w.~])(?:/(?:home|Users|root|tmp|mnt|private)/|[A-Za-z]:\\+(?:Users|Temp)\\"
    rf"{_OWN_FOLDERS})[^\s'\"<>]*"
)
_CHECK = re.compile(r"^\s*(?:assert\b|check\()", re.MULTILINE)
_LIVE = re.compile(r"explorer-twin|<script\b", re.IGNORECASE)
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def normalise(notebook) -> None:
    """Take out, in place, what says nothing to a reader and changes from machine to machine.

    That is: the state of widgets (a kernel's, useless without it), times of execution, and the version of the
    Python that ran.
    """
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def find_problems(path: Path) -> list[str]:
    """What keeps the notebook at `path` from being committed, one sentence each; empty when nothing does."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    problems = [*_execution_problems(code), *_length_problems(code), *_check_problems(code)]
    if "widgets" in notebook.metadata:
        problems.append("holds the state of widgets; `make notebooks` leaves it out")
    for number, cell in enumerate(code, 1):
        problems.extend(f"code cell {number} {problem}" for problem in _cell_problems(cell))
    return problems


def _execution_problems(code: list) -> Iterator[str]:
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield f"is not executed from top to bottom (execution counts {counts}); run `make notebooks`"


def _length_problems(code: list) -> Iterator[str]:
    if not code:
        yield "has no code cell"
        return
    lengths = [len(cell.source.splitlines()) for cell in code]
    for number, length in enumerate(lengths, 1):
        if length > LONGEST_CELL:
            yield f"code cell {number} has {length} lines, more than {LONGEST_CELL}"
    if statistics.median(lengths) > MEDIAN_CELL:
        yield f"its median code cell has {statistics.median(lengths):g} lines, more than {MEDIAN_CELL}"


def _check_problems(code: list) -> Iterator[str]:
    """nbval compares nothing of an NBVAL_IGNORE_OUTPUT cell, so the next cell must check its result."""
    for number, (cell, following) in enumerate(zip_longest(code, code[1:]), 1):
        if "NBVAL_SKIP" in cell.source:
            yield f"code cell {number} is skipped by nbval (NBVAL_SKIP)"
        if "NBVAL_IGNORE_OUTPUT" not in cell.source or _CHECK.search(cell.source):
            continue
        if following is None or not _CHECK.search(following.source):
            yield f"code cell {number} has NBVAL_IGNORE_OUTPUT, but the cell after it checks nothing"


def _cell_problems(cell) -> Iterator[str]:
    texts = [cell.source]
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"ended in an error: {output.ename}"
        if output.output_type == "stream":
            if output.name == "stderr":
                yield f"wrote to standard error: {output.text.strip()[:80]!r}"
            texts.append(output.text)
        for kind, value in output.get("data", {}).items():
            if kind.startswith("image/"):
                yield f"holds a bare {kind}, without words: show it with helpers.views.pictures.show(figure, alt)"
                continue
            if kind == _WIDGET_VIEW or _LIVE.search(str(value)):
                yield "holds a live explorer; a committed notebook holds its table: run `make notebooks`"
            texts.append(value if isinstance(value, str) else repr(value))
    for text in texts:
        for path in machine_paths(text)[:1]:
            yield f"names a path of one machine: {path}"


def machine_paths(text: str) -> list[str]:
    """The paths in a text that name one machine or one person, each once, cut to 60 characters."""
    return list(dict.fromkeys(found.group()[:60] for found in _MACHINE_PATH.finditer(text)))
