"""Recording: what a recorded run holds, in columns of numbers and strings. It never holds a tensor.

Probes write it, views read it. What it can be asked is in `questions`, the file format in `file`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..events import (
    CACHE_COLUMNS,
    EVENT_COLUMNS,
    LINE_COLUMNS,
    MEMORY_COLUMNS,
    STEP_COLUMNS,
    VALUE_COLUMNS,
    VALUE_FLOATS,
)
from .questions import Questions
from .rows import Function, LandmarkStatus, LoadRow, ModuleRow, SampleRow, TensorSpec, WeightRow


def _columns(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: np.zeros(0, dtype=np.float64 if name in VALUE_FLOATS else np.int64) for name in names}


@dataclass(eq=False)
class Recording(Questions):
    """One recorded run. Made by `record()`; read with its methods, `save` and `Recording.load`."""

    environment: dict = field(default_factory=dict)
    functions: list[Function] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    # of each path, which module it names; [] where an older file does not tell
    module_rows: list[ModuleRow] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    specs: list[TensorSpec] = field(default_factory=list)
    tensor_lists: list[tuple[int, ...]] = field(default_factory=lambda: [()])
    value_lists: list[tuple[tuple[str, object], ...]] = field(default_factory=lambda: [()])
    landmark_statuses: list[LandmarkStatus] = field(default_factory=list)
    events: dict[str, np.ndarray] = field(default_factory=lambda: _columns(EVENT_COLUMNS))
    memory_series: dict[str, np.ndarray] = field(default_factory=lambda: _columns(MEMORY_COLUMNS))
    step_rows: dict[str, np.ndarray] = field(default_factory=lambda: _columns(STEP_COLUMNS))
    cache_rows: dict[str, np.ndarray] = field(default_factory=lambda: _columns(CACHE_COLUMNS))
    weight_rows: list[WeightRow] = field(default_factory=list)
    line_rows: dict[str, np.ndarray] = field(default_factory=lambda: _columns(LINE_COLUMNS))
    value_rows: dict[str, np.ndarray] = field(default_factory=lambda: _columns(VALUE_COLUMNS))
    samples: list[SampleRow] = field(default_factory=list)
    loads: list[LoadRow] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)  # "module:qualname" to the text of the function as installed
    warnings: list[str] = field(default_factory=list)
    # by table (see rank_columns.RANKED) the rank of each row; {} in a recording of one process
    ranks: dict[str, np.ndarray] = field(default_factory=dict)
    finished: bool = False

    def __len__(self) -> int:
        """Number of events."""
        return len(self.events["kind"])

    def __bool__(self) -> bool:
        return True  # an empty recording is still a recording

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recording):
            return NotImplemented
        from .file import document

        return document(self) == document(other)

    __hash__ = None

    # file ----------------------------------------------------------------------------------------------------------

    @classmethod
    def merge(cls, recordings: Iterable[Recording | str | Path]) -> Recording:
        """One recording of all ranks of a run, from one recording (or the path of its file) per rank, in any order.

            python -m torch.distributed.run --nproc-per-node 2 -m helpers record SCRIPT.py -o run.json.gz
            Recording.merge(["run.rank0.json.gz", "run.rank1.json.gz"])

        Each rank's threads are lanes of their own ("rank 1: MainThread"), on one clock: events are in the order in
        which they began in any rank. (Ranks on several machines are as much apart as these machines' clocks.) Every
        table whose rows belong to a rank has a column rank; `landmarks()` counts the calls of all ranks, `stages()`
        tells time and memory of rank 0.

        Raises RecordingError when a rank is missing or there twice, when the recordings are not of one run, and for
        a recording that is no rank's.
        """
        from .merging import merge

        return merge(recordings)

    def to_perfetto(self, path: str | Path) -> Path:
        """Write the recording as a Chrome trace (trace event JSON) for ui.perfetto.dev; returns the path.

        Gzip-compressed where the name ends with ".gz". One lane per thread and one for the generation steps, times
        in microseconds since the recording began, shapes and values as arguments, the memory series as counters in
        bytes. Zoom: landmarks. Raises RecordingError while the recording is running, or when `path` is a folder.
        """
        from .perfetto import write

        return write(self, Path(path))

    def save(self, path: str | Path) -> Path:
        """Write the recording to one file: JSON with a schema version. Returns the path.

        Compressed with gzip, except where the name ends with ".json": about ten times as large, and any editor opens
        it. `load` reads both, whatever they are called.
        Written to a temporary file first, so an interrupted save leaves no half file. Raises RecordingError while
        the recording is still running, or when `path` is a folder.
        """
        from .file import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Recording:
        """Read a file made by `save`. Raises RecordingError when it is damaged, too new, or no recording."""
        from .file import load

        return load(Path(path))

    # display -------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        if not self.finished:
            return "<Recording, still running: read it after the `with record()` block>"
        kept = int(self.step_rows["kept"].sum()) if len(self.step_rows["kept"]) else 0
        steps = len(self.step_rows["step"])
        if self.ranks:
            kept, steps = (count // self.environment["world_size"] for count in (kept, steps))
        each = " in each" if self.ranks else ""
        generation = f", {steps} generation step{'s' if steps > 1 else ''}{each} ({kept} in full)" if steps else ""
        ranks = f" in {self.environment['world_size']} ranks" if self.ranks else ""
        return (
            f"<Recording of transformers {self.environment.get('transformers', '?')}{ranks}: "
            f"{len(self)} events{generation}{self._warnings_told()}>"
        )

    def _repr_html_(self) -> str:
        from html import escape

        if not self.finished:
            return f"<pre>{escape(repr(self))}</pre>"
        told = "".join(f"<p><strong>Warning:</strong> {escape(warning)}</p>" for warning in self.warnings)
        return f"<p>{escape(repr(self))}</p>{told}" + self.stages()._repr_html_()

    def _warnings_told(self) -> str:
        count = len(self.warnings)
        return f", {count} warning{'s' if count > 1 else ''} (see .warnings)" if count else ""
