"""What the author of a notebook hid: cells, code and outputs that a page leaves out, or folds.

The tags are Jupyter Book's (`remove-cell`, `hide-input` …, also with an underscore); what is collapsed in JupyterLab is
folded too.
"""

from __future__ import annotations

REMOVE_CELL, REMOVE_INPUT, REMOVE_OUTPUT = "remove-cell", "remove-input", "remove-output"
HIDE_CELL, HIDE_INPUT, HIDE_OUTPUT = "hide-cell", "hide-input", "hide-output"


def apply(notebook) -> None:
    """Take out, in place, what is tagged to be removed, and mark what is to be folded: the template reads
    `cell.metadata.folded` ("input", "output")."""
    notebook.cells = [cell for cell in notebook.cells if REMOVE_CELL not in _tags(cell)]
    for cell in notebook.cells:
        tags = _tags(cell)
        if REMOVE_INPUT in tags:
            cell.metadata["transient"] = {"remove_source": True}  # nbconvert's own mark
        if REMOVE_OUTPUT in tags and cell.cell_type == "code":
            cell.outputs = []
        cell.metadata["folded"] = [*_folded(cell, tags)]


def _tags(cell) -> set[str]:
    return {str(tag).replace("_", "-") for tag in cell.metadata.get("tags", ())}


def _folded(cell, tags: set[str]):
    collapsed = cell.metadata.get("jupyter", {})
    if tags & {HIDE_CELL, HIDE_INPUT} or collapsed.get("source_hidden"):
        yield "input"
    if tags & {HIDE_CELL, HIDE_OUTPUT} or collapsed.get("outputs_hidden") or cell.metadata.get("collapsed"):
        yield "output"
