"""Small notebooks for the tests of what is done to notebooks."""

from pathlib import Path

import nbformat
from nbformat import v4


def code_cell(source: str, *outputs, count: int | None = None):
    """A code cell as JupyterLab saves it; `outputs` as text_output() and the like give them."""
    return v4.new_code_cell(source, execution_count=count, outputs=list(outputs))


def markdown_cell(source: str):
    """A markdown cell."""
    return v4.new_markdown_cell(source)


def text_output(text: str, name: str = "stdout"):
    """What print() leaves."""
    return v4.new_output("stream", name=name, text=text)


def result_output(count: int, **data: str):
    """What the last expression of a cell leaves; `data` by kind, with / written as __."""
    data = {kind.replace("__", "/"): value for kind, value in data.items()}
    return v4.new_output("execute_result", data=data, execution_count=count)


def write(path: Path, *cells, **metadata) -> Path:
    """Write a notebook with these cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = v4.new_notebook(cells=list(cells), metadata=metadata)
    nbformat.write(notebook, path)
    return path
