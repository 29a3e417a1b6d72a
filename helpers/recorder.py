"""record(): puts the probes on, takes them off, and gives a Recording."""

from __future__ import annotations

import functools
import inspect
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import numpy as np
import torch

from . import landmarks as landmark_table
from .environment import environment
from .events import CACHE_COLUMNS, MEMORY_COLUMNS, NOT_OBSERVED, STEP_COLUMNS, RecordingError
from .probes import redact
from .probes.calls import CallProbe, backend
from .probes.compiled_functions import CompiledFunctions
from .probes.compiler import keep_from_compiler
from .probes.describe import Describer
from .probes.functions import PUBLISHED, FunctionTable
from .probes.interrupts import InterruptGuard
from .probes.loading import LoadingProbe
from .probes.memory import MemoryProbe
from .probes.modules import ModuleReader, module_watch
from .probes.overrides import OverriddenMethods
from .probes.processes import StartedProcesses
from .probes.redact import SecretValues
from .probes.sampling import SamplingProbe
from .probes.steps import StepTracker
from .probes.torch_modes import TracerPause, outside_function_modes
from .probes.values import ValuesProbe
from .probes.watches import Watches, methods_of_steps
from .probes.weights import WeightsProbe
from .progress import GenerationProgress, is_watched
from .recorder_settings import DEFAULT_LINES, DEFAULT_STEPS, DEFAULT_ZOOM, checked_zoom
from .recording.columns import TICK, columns, event_columns, line_columns, value_columns
from .recording.completeness import (
    gaps,
    other_processes,
    runs_later,
    still_running,
    thread_gaps,
    without_calls,
    without_lines,
    without_steps,
)
from .recording.recording import Recording
from .recording.rows import LandmarkStatus


def record(
    *zoom: str,
    steps: int | None = DEFAULT_STEPS,
    lines: Iterable[str] | None = None,
    progress: bool | None = None,
) -> Recorder:
    """Record what transformers does inside a `with` block, or in each call of a function that it decorates.

        with record() as recording:
            model = AutoModelForCausalLM.from_pretrained(checkpoint)
        recording.landmarks()

        @record()
        def answer(question): ...
        answer("…")
        answer.recording.landmarks()  # of the last call

    `zoom`: any of "landmarks" (always recorded), "calls" (every Python call in transformers, accelerate, safetensors,
    huggingface_hub and tokenizers), "modules", "functions" (what computes outside modules: the attention function that
    ran, from transformers 5.1 on one of your own too, RoPE, masks, `Cache.update`, logits processors of transformers,
    in any architecture), "lines" and "memory";
    by default landmarks, modules and memory. `steps`: how many generation steps of each generate() call are kept in
    full (the prefill is the first); each later one is a summary row. None keeps all. `lines`: the functions whose lines
    are recorded with what each changed, as landmark ids or "module:qualname"; with the zoom "lines" alone those in
    which a load decides. `progress`: whether a generation that takes long shows its tokens so far, on stderr; None: in
    a terminal and in a notebook, where TQDM_DISABLE is not set; never beside a streamer of the program's own. Metadata
    only: no tensor is kept, no value is read, no device is synchronised. Two further zooms, never on by default,
    read values, for which they wait for a GPU; they keep no tensor either: "sampling" (the chain of logits processors,
    stage by stage, in every step) and "values" (minimum, maximum, mean, NaN and infinities of what each module gave
    back; modules come with it).

    Of a training step the forward pass is in it, and what gradient checkpointing runs again: there torch leaves the
    last module calls by an exception of its own (status raised), as soon as it has what it needs. On a GPU that runs in
    a thread of torch's own, which is not seen before Python 3.12. The backward pass itself and the optimizer are no
    module calls, and not in it.

    What other threads do meanwhile is in it too: each has its name, and each generate() call its number. Before Python
    3.12 only the thread that enters, and those that begin inside the block, are seen. Of other processes that the
    program starts nothing is in it, and a warning names them.

    Raises RecordingError for an unknown zoom, a steps below 1 or a function that there is not, and, on entering, when
    another recording or profiler holds the interpreter's only place.
    """
    lines = (lines,) if isinstance(lines, str) else lines
    chosen = checked_zoom(zoom if lines is None else (*(zoom or DEFAULT_ZOOM), "lines"), steps)
    return Recorder(chosen, steps, tuple(DEFAULT_LINES if lines is None else lines), progress)


_RUN_LATER = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
_RUNS_LATER = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)


def _name_of(function: Callable) -> str:
    """Of a functools.partial the function's, of an object with __call__ its class's."""
    inner = getattr(function, "func", function)
    return getattr(inner, "__qualname__", type(inner).__name__)


class Recorder(AbstractContextManager):
    """One run of the probes. Entered once; use `record()` again for another recording."""

    def __init__(
        self, zoom: frozenset[str], steps: int | None, lines: tuple[str, ...] = (), progress: bool | None = None
    ) -> None:
        self.recording = Recording()
        self._progress = progress
        self._lines = lines if "lines" in zoom else ()
        self._zoom = zoom
        self._steps = steps
        self._entered = False

    def __call__(self, function: Callable) -> Callable:
        """Decorate `function`: each call runs recorded; the attribute `recording` is the last call's, at first None.

        Raises RecordingError for what a `with` around the call would not see: a generator or an async function, which
        runs after its call has returned. Where only the call tells that it gives one (an async function behind a
        decorator), it warns.
        """
        if not callable(function) or inspect.isclass(function):
            raise RecordingError(f"@record() decorates functions; this is an object of type {type(function).__name__}.")
        if any(kind(function) for kind in _RUN_LATER):
            raise RecordingError(
                f"@record() on {_name_of(function)}: a generator or async function runs after its call has "
                "returned. Write `with record() as recording:` in its body, or around what consumes it."
            )

        @functools.wraps(function)
        def recorded(*args, **kwargs):
            with Recorder(self._zoom, self._steps, self._lines, self._progress) as recording:
                recorded.recording = recording
                result = function(*args, **kwargs)
            if isinstance(result, _RUNS_LATER):
                gap = runs_later(_name_of(function), type(result).__name__)
                recording.warnings.append(gap)
                warnings.warn(gap, stacklevel=2)
            return result

        recorded.recording = None
        return recorded

    def __enter__(self) -> Recording:
        if self._entered:
            raise RecordingError("This recorder was used already: call record() for each recording.")
        self._entered = True
        self._version_warning = landmark_table.version_warning()
        if self._version_warning:
            warnings.warn(self._version_warning, stacklevel=2)
        self._resolutions = landmark_table.resolve()
        self._functions = FunctionTable()
        self._describer = Describer()
        self._memory = MemoryProbe(self._clock)
        self._loading = LoadingProbe(self._clock)
        self._module_reader: ModuleReader | None = None
        self._values: ValuesProbe | None = None
        self._weights = WeightsProbe()
        self._interrupts = InterruptGuard(backend().start.__code__.co_filename, Recorder.__enter__, Recorder.__exit__)
        self._interrupts.hold()
        try:
            self._probe = self._make_probe()
            self._began = time.perf_counter_ns()
            if "memory" in self._zoom:
                self._memory.sample()
            self._probe.start()
            keep_from_compiler(self._probe.callbacks())
        except BaseException:
            self._memory.close()
            self._interrupts.release()
            raise
        return self.recording

    def __exit__(self, exception_type, exception, traceback) -> None:
        try:
            with outside_function_modes():
                self._end(exception_type, exception)
        finally:
            self._interrupts.release()

    def _end(self, exception_type: type | None, exception: BaseException | None) -> None:
        self._unseen_threads = self._probe.unseen_threads()
        self._probe.stop()
        self._probe.close_open_calls()
        self._tracker.recording_ends()
        if self._interrupts.raised_in_callback:
            self._probe.was_interrupted(goes_on=exception_type is not KeyboardInterrupt)
        if "memory" in self._zoom:
            self._memory.recount()
            self._memory.sample()
        self._memory.close()
        found = self._finish(exception_type)
        if isinstance(exception, (torch.cuda.OutOfMemoryError, MemoryError)):
            self.recording.environment["out_of_memory"] = redact.text(str(exception))
        for gap in found:
            warnings.warn(gap, stacklevel=3)

    def _clock(self) -> int:
        """Nanoseconds since the recording began, in the resolution that is kept."""
        return (time.perf_counter_ns() - self._began) // TICK * TICK

    # building the probes -------------------------------------------------------------------------------------------

    def _make_probe(self) -> CallProbe:
        watches = Watches(self._resolutions, self._zoom, self._functions, self._describer)
        memory = self._memory if "memory" in self._zoom else None
        self._tracker = StepTracker(
            self._steps,
            memory,
            self._clock,
            lambda: probe.state(),
            lambda keep: probe.set_keeping(keep),
            GenerationProgress() if (is_watched() if self._progress is None else self._progress) else None,
        )
        self._unobserved = watches.problems
        watches.mark_boundaries(self._tracker)
        watches.hook_the_load(self._loading, self._model_loaded)
        self._line_probe = watches.line_probe(self._lines, self._clock)
        finder = watches.call_finder()
        probe = backend()(
            list(watches.by_code.values()),
            watches.builtins,
            self._describer,
            memory,
            time.perf_counter_ns,
            finder,
            self._line_probe,
        )
        watches.watch_attention(probe.add)
        if "modules" in self._zoom:
            self._module_reader = ModuleReader(
                self._describer,
                self._functions.of,
                probe.is_outermost_module,
                self._model_called,
                lambda kind: [probe.add(watch) for watch in watches.inherited_forwards(kind)],
            )
            for code, hooks in watches.codes({"gen.generate": (self._module_reader.generation_begins, None)}):
                probe.tell(code, *hooks)
            watch = module_watch(self._module_reader)
            probe.watches[id(watch.code)] = watch
            self._values = ValuesProbe() if "values" in self._zoom else None
            watch.measure = self._values.module_returned if self._values else None
        else:
            for code, hooks in watches.codes({"gen.generate": (self._weights.generation_begins, None)}):
                probe.tell(code, *hooks)
        self._sampling = self._watch_the_sampling(probe, watches) if "sampling" in self._zoom else None
        self._overridden = OverriddenMethods(probe.tell, self._resolutions, methods_of_steps(self._tracker))
        for code, hooks in watches.codes({"gen.generate": (self._overridden.generation_begins, None)}):
            probe.tell(code, *hooks)
        self._tracer_pause = TracerPause(probe)
        self._processes = StartedProcesses(probe.tell)
        self._compiled_functions = CompiledFunctions(probe) if "modules" in self._zoom else None
        return probe

    def _watch_the_sampling(self, probe: CallProbe, watches: Watches) -> SamplingProbe:
        sampling = SamplingProbe(self._tracker, probe.tell)
        hooks = {
            "gen.sample": (sampling.decoding_begins, sampling.decoding_ends),
            "smp.processors": (sampling.chain_begins, sampling.chain_ends),
            "smp.stop": (sampling.token_chosen, sampling.criteria_asked),
        }
        for code, own in watches.codes(hooks):
            probe.tell(code, *own)
        return sampling

    def _model_loaded(self, value: object) -> None:
        self._loading.model_ready(value)
        model = value[0] if isinstance(value, tuple) and value else value  # output_loading_info=True gives a pair
        if isinstance(model, torch.nn.Module):
            self._memory.count_model(model)
            if self._module_reader:
                self._module_reader.names.expect(model)

    def _model_called(self, model: torch.nn.Module) -> None:
        self._memory.count_model(model)
        self._weights.model_called(model)

    # finishing the recording ---------------------------------------------------------------------------------------

    def _finish(self, exception_type: type | None) -> list[str]:
        """Fill the recording; returns what it did not see, in sentences."""
        recording = self.recording
        recording.functions = self._functions.rows
        if self._module_reader:
            recording.paths, recording.module_rows = self._module_reader.names.paths, self._module_reader.names.rows
        recording.threads = self._probe.thread_names
        recording.specs = self._describer.specs
        recording.tensor_lists = self._describer.tensor_lists
        recording.value_lists = self._describer.value_lists
        recording.events = event_columns(self._probe.log, self._describer.descriptions, self._began, self._clock())
        recording.memory_series = columns(self._memory.columns(), MEMORY_COLUMNS)
        recording.step_rows = columns(self._tracker.columns(), STEP_COLUMNS)
        recording.cache_rows = columns(self._tracker.cache_columns(), CACHE_COLUMNS)
        recording.weight_rows = self._weights.rows
        recording.landmark_statuses = [self._status(resolution) for resolution in self._resolutions]
        recording.loads = self._loading.rows()
        recording.samples = self._sampling.rows() if self._sampling else []
        recording.value_rows = value_columns(self._values, self._probe.log, recording.events["status"])
        for probe in filter(
            None,
            (
                self._probe,
                self._loading,
                self._tracker,
                self._weights,
                self._memory,
                self._sampling,
                self._values,
                self._overridden,
                self._tracer_pause,
                self._processes,
                self._compiled_functions,
            ),
        ):
            recording.warnings.extend(probe.problems.values())
        recording.line_rows = line_columns(self._line_probe, self._probe.log)
        recording.sources = self._functions.sources(self._seen_functions())
        recording.environment = environment(self._zoom, self._steps, self._probe.name, self._began)
        if self._weights.models:
            recording.environment["models"] = self._weights.models
        if exception_type is not None:
            recording.environment["ended_by"] = exception_type.__name__
        if self._version_warning:
            recording.warnings.append(self._version_warning)
        _hide_secrets(recording, self._describer.secrets)
        found = [
            *self._unobserved.values(),
            *gaps(recording, self._tracker.new_tokens, self._weights.compiled, self._forwards_inside()),
            *without_steps(self._tracker.batches),
            *without_calls(self._compiled_functions.silent if self._compiled_functions else []),
            *without_lines(self._silent_lines() if exception_type is None else []),
            *thread_gaps(self._unseen_threads, is_empty=not len(recording)),
            *other_processes(self._processes.names),
            *still_running(recording, threading.current_thread().name),
        ]
        recording.warnings.extend(found)
        recording.finished = True
        return found

    def _forwards_inside(self) -> dict[str, dict[int, int]]:
        """WeightsProbe.forwards_inside by function, of the functions that are watched."""
        known = self._functions.known
        return {
            path: {known(code): count for code, count in forwards.items() if known(code) is not None}
            for path, forwards in self._weights.forwards_inside.items()
        }

    def _silent_lines(self) -> list[str]:
        """Of the functions named in lines=, those without a line; none of the ones that nobody named."""
        return [] if self._line_probe is None or self._lines == DEFAULT_LINES else self._line_probe.silent()

    def _seen_functions(self) -> set[int]:
        landmark_functions = {status.function for status in self.recording.landmark_statuses}
        with_lines = (
            {self._functions.of(code) for code in self._line_probe.codes.values()} if self._line_probe else set()
        )
        return (landmark_functions | with_lines) & set(np.unique(self.recording.events["function"]).tolist())

    def _status(self, resolution: landmark_table.Resolution) -> LandmarkStatus:
        function = NOT_OBSERVED
        if resolution.callers:
            function = self._functions.of_builtin(resolution.target)
        elif resolution.code is not None:
            function = self._functions.of(resolution.code)
        instead = self._overridden.instead.get(resolution.landmark.id)
        reason = f"not observed: {instead} ran in its place" if instead and not resolution.reason else resolution.reason
        return LandmarkStatus(resolution.landmark.id, function, reason)


def _hide_secrets(recording: Recording, secrets: SecretValues) -> None:
    """Take out the secrets that were met under a secret's name wherever else they stand."""
    if not secrets:
        return
    hidden = secrets.hidden
    recording.value_lists = [tuple((name, hidden(value)) for name, value in row) for row in recording.value_lists]
    recording.warnings = [hidden(warning) for warning in recording.warnings]
    recording.threads = [hidden(name) for name in recording.threads]
    recording.sources = {
        name: source if name.partition(".")[0] in PUBLISHED else hidden(source)
        for name, source in recording.sources.items()
    }
