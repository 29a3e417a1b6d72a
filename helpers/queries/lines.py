"""Recorded lines as a table; columns and units are told by `Recording.lines`."""

from __future__ import annotations

from ..events import RecordingError
from ..recording.recording import Recording
from ..recording.rows import Function
from ..tables import Table
from .cells import tensors_text, values_text
from .requirements import require_finished


def lines(recording: Recording, *, event: int | None) -> Table:
    """See `Recording.lines`."""
    require_finished(recording)
    rows = recording.line_rows
    if "lines" not in recording.environment.get("zoom", ()):
        raise RecordingError(
            'This recording has no lines. Name functions: record(lines=("ckpt.resolve", "dtype.resolve")).'
        )
    table = []
    for of, line, tensors, values in zip(rows["event"], rows["line"], rows["tensors"], rows["values"], strict=True):
        if event is not None and of != event:
            continue
        function = recording.functions[recording.events["function"][of]]
        changed = [text for text in (tensors_text(recording, tensors), values_text(recording, values)) if text]
        text = source_line(recording, function, int(line))
        table.append((int(of), function.qualname, int(line), text, ", ".join(changed)))
    return Table.of(table, ["event", "function", "line", "text", "changed"], volatile=("line", "changed"))


def source_line(recording: Recording, function: Function, line: int) -> str:
    """One line of a function's source, stripped; "" where its source is not in the recording."""
    text = recording.sources.get(f"{function.module}:{function.qualname}", "").split("\n")
    place = line - function.line
    return text[place].strip() if 0 <= place < len(text) else ""
