"""A recording as text, for a terminal."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..token_text import printable
from .recording import Recording

LANDMARK_COLUMNS = ["stage", "landmark", "calls", "milliseconds", "function", "location"]

OF_STAGES = """Of a stage: its own time, without the stages within it, and what the process gained, or gave back, in it.
Stage 2 has what from_pretrained does itself: pages of shards that were cast leave the process at its end."""
OF_LANDMARKS = """Of a landmark: the time of all its calls, with what they call; calls in several threads overlap."""


def overview(path: str | Path) -> str:
    """What is in the recording at `path`: its size, its warnings, its stages, and the landmarks that were called.

    Times in milliseconds, memory in bytes. Raises RecordingError when there is no recording that can be read.
    """
    recording = Recording.load(path)
    landmarks = pd.DataFrame(recording.landmarks(observed_only=True))[LANDMARK_COLUMNS]
    ended = recording.environment.get("ended_by")
    text = "\n\n".join(
        [
            repr(recording) + (f", ended by {ended}" if ended else ""),
            *(f"warning: {warning}" for warning in recording.warnings),
            _text(pd.DataFrame(recording.stages()).rename(columns={"memory": "memory (bytes)"})),
            OF_STAGES,
            f"{_text(landmarks)}\n\n{OF_LANDMARKS}" if len(landmarks) else "No landmark of the call path was called.",
        ]
    )
    return printable(text)


def _text(table: pd.DataFrame) -> str:
    """Text to the left, numbers to the right with thousands separated, missing values empty."""
    columns = {}
    for name in table.columns:
        cells = [str(name), *(_cell(name, value) for value in table[name])]
        width = max(map(len, cells))
        numeric = pd.api.types.is_numeric_dtype(table[name])
        columns[name] = [cell.rjust(width) if numeric else cell.ljust(width) for cell in cells]
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns.values(), strict=True))


def _cell(name: str, value: object) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if name == "milliseconds":
        return f"{value:,.1f}"
    return f"{value:,}" if pd.api.types.is_number(value) else str(value)
