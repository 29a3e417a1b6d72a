"""What a Recording can be asked: every question is a method that returns a table (a pandas DataFrame).

The answers are computed in the package `queries`, each imported when it is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..tables import Table
from .rows import TensorSpec

if TYPE_CHECKING:
    from ..queries.source_text import Source
    from .recording import Recording


class Questions:
    """The questions of a Recording, which is the only class that answers them."""

    def landmarks(self, *, observed_only: bool = False) -> Table:
        """One row per landmark of the call path, in its order, with what was recorded of it.

        Columns: stage (number), stage_name, landmark (id), function (qualified name), location (file:line as
        installed), calls (recorded; steps beyond those kept in full are not in it), per_step (calls per step kept in
        full, <NA> outside generation), tensors_in and tensors_out (of the first call: name and shape), dtype, device,
        arguments and result (of the first call: what is not a tensor),
        memory (bytes of resident memory gained, all calls; zoom memory), milliseconds (all calls; children included),
        observed (yes, or the reason why not). Zoom: landmarks; without modules the forward pass is seen as calls.
        """
        from ..queries import stages

        return stages.landmarks(self, observed_only=observed_only)

    def stages(self) -> Table:
        """One row per stage of the call path: landmarks observed, calls, milliseconds and memory.

        Columns: stage, name, landmarks (observed / known to the table), calls, milliseconds (time in which the stage's
        outermost landmarks ran, less the time of other stages' landmarks within them; the first thread's, which
        contains its workers'), memory (bytes of resident memory gained in that time; zoom memory). Steps that were
        kept as summary rows only are a last row of their own: which stages their time went to was not observed.
        Zoom: landmarks.
        """
        from ..queries import stages

        return stages.stages(self)

    def modules(self, step: int | None = None, generation: int | None = None) -> Table:
        """One row per call of a torch module, in order.

        Columns: event (for `source` and `tensors`), path (name in the model), class, location (file:line of its
        forward), generation (number of the generate() call, from 0; <NA> outside), step, inputs and outputs (name and
        shape), dtype and device (of the outputs, each once), milliseconds (children included), status (returned, or
        raised: an exception left it; open: still running at the end). Where several models were called, model (number,
        from 0, in the order of their first calls) stands before path. `step`: 0 is the prefill, 1, 2, … the decode
        steps. Zoom: modules. Raises RecordingError when that was not recorded, the step was not kept in full, or there
        is no such generation.
        """
        from ..queries import event_queries

        return event_queries.modules(self, step=step, generation=generation)

    def calls(self) -> Table:
        """One row per recorded call that is not a module call, in order.

        Columns: event (for `source` and `tensors`), depth (calls and modules around it), kind (call or builtin),
        function (qualified name), location (file:line), thread, generation (number of the generate() call, from 0;
        <NA> outside), step (0 is the prefill; <NA> outside), arguments and result (what is not a tensor), inputs and
        outputs (tensors: name and shape), milliseconds (children included), status (returned, raised, yielded: a
        generator's first value; open: still running at the end). Zoom: landmarks; functions for what computes outside
        modules; calls for every call in the libraries.
        """
        from ..queries import event_queries

        return event_queries.calls(self)

    def lines(self, event: int | None = None) -> Table:
        """One row per line that ran in the functions named by record(lines=…), in order.

        Columns: event, function, line (number in its file), text (as installed), changed (the variables that this
        line changed: tensors with their shape, other values). `event`: of this call only. Zoom: lines.
        Raises RecordingError when no lines were recorded.
        """
        from ..queries import lines

        return lines.lines(self, event=event)

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
        from ..queries import readings

        return readings.sampling(self, step, generation)

    def values(self, path: str | None = None, step: int | None = None, nan_only: bool = False) -> Table:
        """One row per tensor that a module call gave back, in the order in which calls returned: innermost first.

        Columns: event, path, generation, step, output (name and shape), min, max and mean (of the finite values, six
        significant digits), nan and inf (how many), nan_in (how many NaN the call's inputs held when it returned;
        looked at only where its output has some), observed (yes, or why the tensor was not read). `path`: a module, or
        a pattern as "model.layers.*.mlp"; `step`: 0 is the prefill; `nan_only`: outputs with NaN only. The module that
        made a NaN is the first that had none in its inputs:

            recording.values(nan_only=True).query("nan_in == 0").head(1)

        A module whose own weights hold NaN is such a one too. In training these often come from the backward pass,
        which is not read: torch.autograd.set_detect_anomaly(True) names the operation there that made them.

        Zoom: values. Raises RecordingError when that was not recorded, no module has that path, or the step was not
        kept in full.
        """
        from ..queries import readings

        return readings.values(self, path, step, nan_only)

    def steps(self) -> Table:
        """One row per generation step: 0 is the prefill, the others are decode steps.

        Columns: generation, step, kind (prefill or decode), milliseconds, kept (whether its events are kept in full),
        events (how many), tokens (new ones of each sequence: 1, or several in assisted decoding), kv_tokens (positions
        in the KV cache after its forward pass), kv_bytes (bytes of its keys and values, as allocated), resident (bytes
        of the process in RAM at its end; zoom memory). <NA> where it was not observed. Zoom: landmarks.
        """
        from ..queries import series

        return series.steps(self)

    def kv_cache(self, step: int | None = None) -> Table:
        """One row per layer of the KV cache and generation step: what it was after the step's forward pass.

        Columns: generation, step, layer, tokens (positions that it has seen), capacity (positions that its tensors
        have room for: fewer in a sliding window, more in a static cache), nbytes (bytes of its keys and values, as
        allocated; of an encoder-decoder those of the cross-attention too). <NA> where the cache does not say.
        Summarised steps are in it too. Zoom: landmarks.
        Raises RecordingError when there is no such step.
        """
        from ..queries import series

        return series.kv_cache(self, step)

    def weights(self) -> Table:
        """One row per module with parameters or buffers of its own: where they lay when its model was first called.

        Columns: model (number; only where several models were called), path, dtype, nbytes (bytes, of this process; a
        tied or shared weight's count in the first module that has it),
        device (cpu, cuda:0, …; disk for weights that accelerate keeps in files; meta where nothing says where they
        are), execution_device (where accelerate's hook moves them for a call; without a hook the same). Zoom: modules.
        Raises RecordingError when no module was called, or modules were not recorded.
        """
        from ..queries import series

        return series.weights(self)

    def transfers(self, step: int | None = None) -> Table:
        """One row per module call for which accelerate's hook brought the module's weights, in order.

        Columns: event, path (of the module), generation, step, tensors (how many), nbytes (bytes of them), source
        (where they are kept: disk, or a device), to (where the module computes), milliseconds (on a CPU to read and
        copy them, on a GPU to queue that). After its call the hook drops them again, so each forward pass pays anew.
        `step`: 0 is the prefill. Zoom: modules. Raises RecordingError when that was not recorded, or the step was not
        kept in full.
        """
        from ..queries import transfers

        return transfers.transfers(self, step)

    def parameters(self) -> Table:
        """The loading ledger: one row per tensor of the checkpoint, and per parameter that it does not hold.

        A tensor that is split into several parameters (5.x) has a row for each, its byte range in the first of them.
        Of a GGUF file the key is the name that transformers gives it, and disk_dtype may be one of GGUF's own (Q4_0).

        Columns: load (number, from 0), key (in the checkpoint), parameter (in the model), status (see LoadRow), file,
        begin and end (byte range in the file), disk_dtype, disk_shape, dtype (in memory), cast (whether the two
        differ), shape (in memory: of a parameter that is sharded over ranks the part of this rank), placement (of such
        a parameter: "Shard(dim=0) of 3"), device, nbytes (bytes of this process's part; on disk where the device is
        "disk"), tied_to, thread, milliseconds (to read, cast and move it; 5.x), placed (milliseconds since the
        recording began), copied (milliseconds of its copy to a GPU, on the GPU's clock), copy_began and copy_ended
        (nanoseconds on it). <NA> where the version, the file format or the device does not tell. Zoom: landmarks.
        Raises RecordingError when nothing was loaded.
        """
        from ..queries import loads

        return loads.parameters(self)

    def shards(self) -> Table:
        """One row per file of the checkpoint, in the order of the files.

        Columns: load (number, from 0), file, tensors (how many), disk_bytes (bytes of its tensors in the file; <NA>
        without byte ranges), memory_bytes (bytes of them in memory: tied ones once, none of those that stay on disk,
        did not fit or were not taken), casts (of those in memory, how many have another dtype there; what stays on disk
        is cast at each use), first and last (milliseconds since the recording began at which its first and its
        last tensor was in its module), copied (milliseconds from the begin of its first copy to a GPU to the end of its
        last, on the GPU's clock; <NA> without one). Zoom: landmarks. Raises RecordingError when nothing was loaded.
        """
        from ..queries import loads

        return loads.shards(self)

    def memory(self) -> Table:
        """The memory series: one row per sample, at landmark and step boundaries, never per module.

        Columns: milliseconds (since the start) and, in bytes, resident, anonymous, file_mapped, parameters (and
        buffers, of the models that live, ties once), parameters_virtual (those that are meta tensors in their modules:
        no memory of their own, accelerate keeps them elsewhere), kv_cache (of the generate() calls that run;
        <NA> while one of them has it under a name, or in a layout, that is not known), cuda_allocated, cuda_reserved,
        cuda_peak; <NA> where the machine does not say. Zoom: memory.
        """
        from ..queries import series

        return series.memory(self)

    def memory_phases(self) -> Table:
        """One row per phase of the call: allocator warm-up, load, pipeline, prefill, decode (all steps of it).

        Columns: phase and, in bytes at its end, resident, anonymous, file_mapped, parameters, kv_cache, cuda_allocated,
        cuda_reserved; activations (bytes), with what they are in activations_are: on a GPU the peak less parameters and
        KV cache, else at least the most that one module call kept in full got or gave (<NA> without the zoom modules);
        cuda_peak (highest allocated) and peak_is: "of this phase" where the counter rose in it. It is never reset, so
        of a phase in which it did not rise only that is known which it does not exceed. <NA> where the machine does
        not say. The warm-up lies within the load. Of several ranks the phases of each, with a column rank. Zoom:
        landmarks and memory.
        """
        from ..queries import memory_phases

        return memory_phases.memory_phases(self)

    def to_frame(self) -> Table:
        """All events, one row each, in the order in which they began (their number is the index), with names in place
        of indexes.

        Columns: kind (call, module or builtin), function (module:qualname), path (of a module), thread, parent (number
        of the event around it in the same thread), generation (number of the generate() call, from 0), step (0 is the
        prefill), start and end (nanoseconds since the recording began), inputs and outputs (tensors: name and
        shape), arguments and result (what is not a tensor), memory_before and memory_after (row of `memory()`), status
        (as in `calls`). <NA> where there is none. Zoom: landmarks; what every other zoom recorded is in it.
        """
        from ..queries import event_queries

        return event_queries.frame(self)

    def tensors(self, event: int) -> tuple[list[TensorSpec], list[TensorSpec]]:
        """(inputs, outputs) of one event, each a list of TensorSpec(path, shape, dtype, device, nbytes, storage): path
        is the name of the argument or output, nbytes and storage are bytes (of its elements; of the memory behind it).
        Raises RecordingError where there is no such event.
        """
        from ..queries import requirements

        requirements.require_event(self, event, "tensors")
        return (
            [self.specs[index] for index in self.tensor_lists[self.events["inputs"][event]]],
            [self.specs[index] for index in self.tensor_lists[self.events["outputs"][event]]],
        )

    def find(
        self, name=None, *, shape=None, dtype=None, device=None, stage=None, thread=None, step: int | None = None
    ) -> Table:
        """The events that are all of what is asked, in order, one row each.

        `name`: a part of the function's name, of its file or of the module's path in the model, in upper or lower
        case; or the id of a landmark ("smp.topk"), for its calls. `shape`: a size that one dimension has (4096 or
        "4096"), or a whole shape ((1, 173, 576) or
        "(1, 173, 576)"); `dtype`: "float16" or torch.float16; `device`: "cuda" is any, "cuda:0" is one. Shape, dtype
        and device are those of one and the same tensor, among the inputs and outputs. `stage`: number or name; an event
        without a landmark of its own has the stage of the event around it. `thread`: a part of its name. `step`:
        0 is the prefill, 1, 2, … the decode steps.

        Columns: event (for `source` and `tensors`), kind (call, module or builtin), function, path (of a module),
        location, thread, generation, step, inputs and outputs (name and shape), dtype and device (of the outputs, or
        where there are none the inputs), milliseconds (children included). Zoom: landmarks; modules for module calls.
        Raises RecordingError when nothing or the impossible is asked, for a step that was not kept in full, and for a
        landmark without a function in the recorded version.
        """
        from ..queries import finding

        return finding.find(
            self, name=name, shape=shape, dtype=dtype, device=device, stage=stage, thread=thread, step=step
        )

    def source(self, event: int) -> Source:
        """The text of an event's function as installed where it was recorded, with line numbers and a permalink.

        `event`: a value of the column `event`. Attributes of the answer: text, file, first_line, last_line,
        executed_lines (None: lines were not recorded), permalink (the same lines on GitHub at the recorded release's
        tag; None where there is none, with the reason in no_permalink). Zoom: landmarks. The sources of landmarks, and
        of functions whose lines were recorded, travel with the recording; any other is read from the installed files,
        where they are of the release that was recorded. Raises RecordingError for an event that there is not, for a
        builtin, and where a source neither travelled nor is installed here.
        """
        from ..queries import source_text

        return source_text.source(self, event)

    def diff(self, other: Recording) -> Table:
        """What differs from this recording ("before") to `other` ("after"); what is equal is left out.

        Columns: what (not compared, version, model, appeared, gone, moved, calls, shape, dtype, device, value, tensor
        appeared, tensor gone, line; of a parameter also status, file, disk dtype, tied to), of (recording, package,
        landmark, parameter, module or function), name, steps (0 is the prefill; of modules only), tensors (names of the
        inputs and outputs that changed, or of the arguments whose value did), before, after, count (of places that
        changed in the same way: equal layers are one row, with * for their numbers).

        A landmark is compared over all its calls: their number, the shapes, dtypes and devices that its tensors had,
        and the values of arguments and results that both have. A parameter is compared by the loading ledger, load by
        load. A module is compared at its first call in each step. Then follow functions that are no landmark, and last
        what only stands at another line. Only what both recordings have is compared; the first rows say what was left
        out. Zoom: landmarks, and modules where both have it. Raises RecordingError when `other` is no recording.
        """
        from ..queries import differences

        return differences.diff(self, other)
