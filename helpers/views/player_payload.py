"""What the step-through player is given beside the recording itself: the landmark table, stages, links, differences."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd

from helpers import landmarks as landmark_table
from helpers.permalinks import permalink
from helpers.queries.installed_source import installed_text
from helpers.queries.requirements import require_finished
from helpers.recorder_settings import ZOOMS
from helpers.recording import file as recording_file
from helpers.recording.recording import Recording

PUBLISHED = ("transformers", "accelerate", "huggingface_hub", "safetensors", "tokenizers", "torch")


def packed_recording(recording: Recording) -> bytes:
    """The recording as its file holds it: what the player reads, and what its reader downloads.

    Raises RecordingError while the recording is running.
    """
    require_finished(recording)
    return _packed(recording_file.document(recording))


def packed_guide(recording: Recording, other: Recording | None = None) -> bytes:
    """What else the player shows, as gzip-compressed JSON; with `other`, what differs from `recording` to it."""
    return _packed(
        {
            "stages": _rows(recording.stages()),
            "landmarks": [_landmark(one) for one in landmark_table.table()],
            "permalinks": _permalinks(recording),
            "sources": _installed_sources(recording),
            "zooms": list(ZOOMS),
            "differences": None if other is None else _rows(recording.diff(other)),
        }
    )


def _installed_sources(recording: Recording) -> dict[str, str]:
    """The sources that did not travel with the recording, of all functions that ran, where its release is installed."""
    found = {}
    for index in np.unique(recording.events["function"]).tolist():
        function = recording.functions[index]
        name = f"{function.module}:{function.qualname}"
        text = installed_text(function, recording.environment)[0] if function.line else None
        if text is not None and name not in recording.sources:
            found[name] = text
    return found


def _packed(content: dict) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)


def _landmark(landmark: landmark_table.Landmark) -> dict:
    names = ("id", "stage", "role", "article_name", "in_article", "fires_when", "note")
    return {name: getattr(landmark, name) for name in names}


def _rows(table: pd.DataFrame) -> list[dict]:
    """Rows as plain JSON values; null for a missing one."""
    names = [str(name) for name in table.columns]
    return [dict(zip(names, map(_plain, values), strict=True)) for values in table.itertuples(index=False, name=None)]


def _plain(value: object) -> object:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _permalinks(recording: Recording) -> dict[str, dict]:
    """For each package, what a permalink begins with, or why there is none."""
    found = {}
    for package in PUBLISHED:
        file = f"{package}/x.py"
        link, reason = permalink(file, 1, 1, recording.environment)
        found[package] = {"base": link.split(file)[0] if link else None, "reason": reason}
    return found
