"""Recording: what a recorded run holds, in columns of numbers and strings. It never holds a tensor.

Probes write it, views read it. Every question is a method that returns a table (a pandas DataFrame); the answers are
computed in `queries`, the file format is in `recording_file`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .events import EVENT_COLUMNS, LINE_COLUMNS, MEMORY_COLUMNS, STEP_COLUMNS, VALUE_COLUMNS, VALUE_FLOATS
from .rows import Function, LandmarkStatus, LoadRow, SampleRow, TensorSpec
from .tables import Table

if TYPE_CHECKING:
    from .source_text import Source


def _columns(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: np.zeros(0, dtype=np.float64 if name in VALUE_FLOATS else np.int64) for name in names}


@dataclass(eq=False)
class Recording:
    """One recorded run. Made by `record()`; read with its methods, `save` and `Recording.load`."""

    environment: dict = field(default_factory=dict)
    functions: list[Function] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    specs: list[TensorSpec] = field(default_factory=list)
    tensor_lists: list[tuple[int, ...]] = field(default_factory=lambda: [()])
    value_lists: list[tuple[tuple[str, object], ...]] = field(default_factory=lambda: [()])
    landmark_statuses: list[LandmarkStatus] = field(default_factory=list)
    events: dict[str, np.ndarray] = field(default_factory=lambda: _columns(EVENT_COLUMNS))
    memory_series: dict[str, np.ndarray] = field(default_factory=lambda: _columns(MEMORY_COLUMNS))
    step_rows: dict[str, np.ndarray] = field(default_factory=lambda: _columns(STEP_COLUMNS))
    line_rows: dict[str, np.ndarray] = field(default_factory=lambda: _columns(LINE_COLUMNS))
    value_rows: dict[str, np.ndarray] = field(default_factory=lambda: _columns(VALUE_COLUMNS))
    samples: list[SampleRow] = field(default_factory=list)
    loads: list[LoadRow] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)  # "module:qualname" to the text of the function as installed
    warnings: list[str] = field(default_factory=list)
    finished: bool = False

    def __len__(self) -> int:
        """Number of events."""
        return len(self.events["kind"])

    def __bool__(self) -> bool:
        return True  # an empty recording is still a recording

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recording):
            return NotImplemented
        from .recording_file import document

        return document(self) == document(other)

    __hash__ = None

    # questions -----------------------------------------------------------------------------------------------------

    def landmarks(self, *, observed_only: bool = False) -> Table:
        """One row per landmark of the call path, in its order, with what was recorded of it.

        Columns: stage (number), stage_name, landmark (id), function (qualified name), location (file:line as
        installed), calls (recorded; steps beyond those kept in full are not in it), per_step (calls per step kept in
        full, <NA> outside generation), tensors_in and tensors_out (of the first call: name and shape), dtype, device,
        arguments and result (of the first call: what is not a tensor),
        memory (bytes of resident memory gained, all calls), milliseconds (all calls; children included), observed
        (yes, or the reason why not). Zoom: landmarks; without modules the forward pass is seen as calls.
        """
        from . import queries

        return queries.landmarks(self, observed_only=observed_only)

    def stages(self) -> Table:
        """One row per stage of the call path: landmarks observed, calls, milliseconds and memory.

        Columns: stage, name, landmarks (observed / known to the table), calls, milliseconds (time in which the stage's
        outermost landmarks ran, less the time of other stages' landmarks within them; the first thread's, which
        contains its workers'), memory (bytes of resident memory gained in that time). Steps that were kept as summary
        rows only are a last row of their own: which stages their time went to was not observed. Zoom: landmarks.
        """
        from . import queries

        return queries.stages(self)

    def modules(self, step: int | None = None, generation: int | None = None) -> Table:
        """One row per call of a torch module, in order.

        Columns: event, path (name in the model), class, location, generation, step, inputs and outputs (name and
        shape), dtype, device (of the first output), milliseconds. `step`: 0 is the prefill, 1, 2, … the decode steps.
        Zoom: modules. Raises RecordingError when that was not recorded or the step was not kept in full.
        """
        from . import queries

        return queries.modules(self, step=step, generation=generation)

    def calls(self) -> Table:
        """One row per recorded call that is not a module call, in order.

        Columns: event, depth, kind, function, location, thread, generation, step, arguments, result, inputs, outputs,
        milliseconds, status. Zoom: landmarks; with calls every call in the libraries.
        """
        from . import queries

        return queries.calls(self)

    def lines(self, event: int | None = None) -> Table:
        """One row per line that ran in the functions named by record(lines=…), in order.

        Columns: event, function, line (number in its file), text (as installed), changed (the variables that this
        line changed: tensors with their shape, other values). `event`: of this call only. Zoom: lines.
        Raises RecordingError when no lines were recorded.
        """
        from . import line_queries

        return line_queries.lines(self, event=event)

    def sampling(self, step: int | None = None, generation: int = 0) -> Table:
        """One row per stage of the chain of logits processors, in every step: the raw logits, then each processor.

        Columns: generation, step, chain (number in the step; assisted decoding runs several), position (0: the raw
        logits), processor (class name), parameters (its numbers), sequences (rows of the scores: all that follows is
        of the first), kept (tokens with a finite score after this stage), entropy_bits and p_top (of the softmax),
        before and after (up to eight likeliest tokens: (id, probability)), token (id, in the last row: what was
        chosen), chosen_by (multinomial or argmax). <NA> where it was not observed: the token of a method that does
        not choose one per chain (beam search), the softmax of scores with NaN, what a processor gave to one that is no
        Python code (functools.partial).
        Summarised steps are in it too. Zoom: sampling. Raises RecordingError when that was not recorded, or there is
        no such step or generation.
        """
        from . import readings

        return readings.sampling(self, step, generation)

    def values(self, path: str | None = None, step: int | None = None, nan_only: bool = False) -> Table:
        """One row per tensor that a module call gave back, in the order in which calls returned: innermost first.

        Columns: event, path, generation, step, output (name and shape), min, max and mean (of the finite values, six
        significant digits), nan and inf (how many), nan_in (how many NaN the call's inputs held when it returned;
        looked at only where its output has some), observed (yes, or why the tensor was not read). `path`: a module, or
        a pattern as "model.layers.*.mlp"; `step`: 0 is the prefill; `nan_only`: outputs with NaN only. The module that
        made a NaN is the first that had none in its inputs:

            recording.values(nan_only=True).query("nan_in == 0").head(1)

        Zoom: values. Raises RecordingError when that was not recorded, no module has that path, or the step was not
        kept in full.
        """
        from . import readings

        return readings.values(self, path, step, nan_only)

    def steps(self) -> Table:
        """One row per generation step: 0 is the prefill, the others are decode steps.

        Columns: generation, step, kind (prefill or decode), milliseconds, kept (whether its events are kept in full),
        events, kv_tokens (positions in the KV cache after its forward pass), kv_bytes, resident (bytes).
        """
        from . import series_queries

        return series_queries.steps(self)

    def parameters(self) -> Table:
        """The loading ledger: one row per tensor of the checkpoint, and per parameter that it does not hold.

        Columns: load, key (in the checkpoint), parameter (in the model), status (see LoadRow), file, begin and end
        (byte range in the file), disk_dtype, disk_shape, dtype (in memory), cast (whether the two differ), device,
        nbytes (in memory), tied_to, thread, milliseconds (to read, cast and move it; 5.x), placed (milliseconds since
        the recording began). <NA> where the version or the file format does not tell. Zoom: landmarks.
        Raises RecordingError when nothing was loaded.
        """
        from . import load_queries

        return load_queries.parameters(self)

    def shards(self) -> Table:
        """One row per file of the checkpoint, in the order of the files.

        Columns: load, file, tensors, disk_bytes (of its tensors; <NA> without byte ranges), memory_bytes, casts
        (tensors whose dtype changed), first and last (milliseconds since the recording began at which its first and
        its last tensor was in its module). Zoom: landmarks. Raises RecordingError when nothing was loaded.
        """
        from . import load_queries

        return load_queries.shards(self)

    def memory(self) -> Table:
        """The memory series: one row per sample, at landmark and step boundaries, never per module.

        Columns: milliseconds (since the start) and, in bytes, resident, anonymous, file_mapped, parameters, kv_cache,
        cuda_allocated, cuda_reserved, cuda_peak; <NA> where the machine does not say.
        """
        from . import series_queries

        return series_queries.memory(self)

    def to_frame(self) -> Table:
        """All events, one row each, with names in place of indexes (columns as in `EVENT_COLUMNS`)."""
        from . import queries

        return queries.frame(self)

    def tensors(self, event: int) -> tuple[list[TensorSpec], list[TensorSpec]]:
        """(inputs, outputs) of one event."""
        return (
            [self.specs[index] for index in self.tensor_lists[self.events["inputs"][event]]],
            [self.specs[index] for index in self.tensor_lists[self.events["outputs"][event]]],
        )

    def find(
        self, name=None, *, shape=None, dtype=None, device=None, stage=None, thread=None, step: int | None = None
    ) -> Table:
        """The events that are all of what is asked, in order, one row each.

        `name`: a part of the function's name, of its file or of the module's path in the model, in upper or lower
        case. `shape`: a size that one dimension has (4096 or "4096"), or a whole shape ((1, 173, 576) or
        "(1, 173, 576)"); `dtype`: "float16" or torch.float16; `device`: "cuda" is any, "cuda:0" is one. Shape, dtype
        and device are those of one and the same tensor, among the inputs and outputs. `stage`: number or name; an event
        without a landmark of its own has the stage of the event around it. `thread`: a part of its name. `step`:
        0 is the prefill, 1, 2, … the decode steps.

        Columns: event (for `source` and `tensors`), kind (call, module or builtin), function, path (of a module),
        location, thread, generation, step, inputs and outputs (name and shape), dtype and device (of the outputs, or
        where there are none the inputs), milliseconds (children included). Zoom: landmarks; modules for module calls.
        Raises RecordingError when nothing or the impossible is asked, and for a step that was not kept in full.
        """
        from . import finding

        return finding.find(
            self, name=name, shape=shape, dtype=dtype, device=device, stage=stage, thread=thread, step=step
        )

    def source(self, event: int) -> Source:
        """The text of an event's function as installed where it was recorded, with line numbers and a permalink.

        `event`: a value of the column `event`. Attributes of the answer: text, file, first_line, last_line,
        executed_lines (None: lines were not recorded), permalink (the same lines on GitHub at the recorded release's
        tag; None where there is none, with the reason in no_permalink). Zoom: landmarks. Raises RecordingError for an
        event that there is not, and where the recording has no source: of builtins, of functions that are no landmark
        (sources travel for landmarks only), and of files that could not be read.
        """
        from . import source_text

        return source_text.source(self, event)

    def diff(self, other: Recording) -> Table:
        """What differs from this recording ("before") to `other` ("after"); what is equal is left out.

        Columns: what (not compared, version, appeared, gone, moved, calls, shape, dtype, device, tensor appeared,
        tensor gone, line), of (recording, package, landmark, module or function), name, steps (0 is the prefill; of
        modules only), tensors (names of the inputs and outputs that changed), before, after, count (of places that
        changed in the same way: equal layers are one row, with * for their numbers).

        A landmark is compared over all its calls: their number, and the shapes, dtypes and devices that its tensors
        had. A module is compared at its first call in each step. Then follow functions that are no landmark, and last
        what only stands at another line. Only what both recordings have is compared; the first rows say what was left
        out. Zoom: landmarks, and modules where both have it. Raises RecordingError when `other` is no recording.
        """
        from . import differences

        return differences.diff(self, other)

    # file ----------------------------------------------------------------------------------------------------------

    def to_perfetto(self, path: str | Path) -> Path:
        """Write the recording as a Chrome trace (trace event JSON) for ui.perfetto.dev; returns the path.

        Gzip-compressed where the name ends with ".gz". One lane per thread and one for the generation steps, times
        in microseconds since the recording began, shapes and values as arguments, the memory series as counters in
        bytes. Zoom: landmarks. Raises RecordingError while the recording is running, or when `path` is a folder.
        """
        from .perfetto import write

        return write(self, Path(path))

    def save(self, path: str | Path) -> Path:
        """Write the recording to one file: gzip-compressed JSON with a schema version. Returns the path.

        Written to a temporary file first, so an interrupted save leaves no half file. Raises RecordingError while
        the recording is still running.
        """
        from .recording_file import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Recording:
        """Read a file made by `save`. Raises RecordingError when it is damaged, too new, or no recording."""
        from .recording_file import load

        return load(Path(path))

    # display -------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        if not self.finished:
            return "<Recording, still running: read it after the `with record()` block>"
        kept = int(self.step_rows["kept"].sum()) if len(self.step_rows["kept"]) else 0
        steps = len(self.step_rows["step"])
        generation = f", {steps} generation steps ({kept} in full)" if steps else ""
        return (
            f"<Recording of transformers {self.environment.get('transformers', '?')}: {len(self)} events{generation}>"
        )

    def _repr_html_(self) -> str:
        from html import escape

        if not self.finished:
            return f"<pre>{escape(repr(self))}</pre>"
        return f"<p>{escape(repr(self))}</p>" + self.stages()._repr_html_()
