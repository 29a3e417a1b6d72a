"""record(): puts the probes on, takes them off, and gives a Recording."""

from __future__ import annotations

import functools
import inspect
import time
import types
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import numpy as np
import torch

from . import landmarks as landmark_table
from .columns import columns, event_columns, line_columns, rounded, value_columns
from .environment import environment
from .events import MEMORY_COLUMNS, NOT_OBSERVED, STEP_COLUMNS, RecordingError
from .probes.calls import CallProbe, backend
from .probes.describe import Describer
from .probes.functions import FunctionTable
from .probes.lines import LineProbe
from .probes.loading import LoadingProbe
from .probes.memory import MemoryProbe
from .probes.modules import ModuleReader, module_watch
from .probes.packages import CallFinder, is_computation
from .probes.sampling import SamplingProbe
from .probes.steps import StepTracker
from .probes.values import ValuesProbe
from .probes.watch import BuiltinWatch, Watch, call_reader, result_closer
from .progress import GenerationProgress, is_watched
from .recorder_settings import DEFAULT_LINES, DEFAULT_STEPS, DEFAULT_ZOOM, checked_zoom
from .recording import Recording
from .rows import LandmarkStatus


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
    ran, RoPE, masks, `Cache.update`, logits processors, of any architecture), "lines" and "memory"; by default
    landmarks, modules and memory. `steps`: how many generation steps of each generate() call are kept in full (the
    prefill is the first); each later one is a summary row. None keeps all. `lines`: the functions whose lines are
    recorded with what each changed, as landmark ids or "module:qualname"; with the zoom "lines" alone those in which a
    load decides. `progress`: whether a generation that takes long shows its tokens so far, on stderr; None: in a
    terminal and in a notebook, where TQDM_DISABLE is not set; never beside a streamer of the program's own. Metadata
    only: no tensor is kept, no value is read, no device is synchronised. Two further zooms, never on by default,
    read values, for which they wait for a GPU; they keep no tensor either: "sampling" (the chain of logits processors,
    stage by stage, in every step) and "values" (minimum, maximum, mean, NaN and infinities of what each module gave
    back; modules come with it).

    Raises RecordingError for an unknown zoom, a steps below 1 or a function that there is not, and, on entering, when
    another recording or profiler holds the interpreter's only place.
    """
    chosen = checked_zoom(zoom if lines is None else (*(zoom or DEFAULT_ZOOM), "lines"), steps)
    return Recorder(chosen, steps, tuple(DEFAULT_LINES if lines is None else lines), progress)


_RUN_LATER = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)


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
        runs after its call has returned.
        """
        if not callable(function) or inspect.isclass(function):
            raise RecordingError(f"@record() decorates functions; this is an object of type {type(function).__name__}.")
        if any(kind(function) for kind in _RUN_LATER):
            raise RecordingError(
                f"@record() on {function.__qualname__}: a generator or async function runs after its call has "
                "returned. Write `with record() as recording:` in its body, or around what consumes it."
            )

        @functools.wraps(function)
        def recorded(*args, **kwargs):
            with Recorder(self._zoom, self._steps, self._lines, self._progress) as recording:
                recorded.recording = recording
                return function(*args, **kwargs)

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
        self._probe = self._make_probe()
        self._began = time.perf_counter_ns()
        if "memory" in self._zoom:
            self._memory.sample()
        try:
            self._probe.start()
        except BaseException:
            self._memory.close()
            raise
        return self.recording

    def __exit__(self, exception_type, exception, traceback) -> None:
        self._probe.stop()
        self._probe.close_open_calls()
        if "memory" in self._zoom:
            self._memory.sample()
        self._memory.close()
        self._finish(exception_type)

    def _clock(self) -> int:
        return time.perf_counter_ns() - self._began

    # building the probes -------------------------------------------------------------------------------------------

    def _make_probe(self) -> CallProbe:
        watches, builtin_watches = self._watches()
        tracker = StepTracker(
            self._steps,
            self._memory if "memory" in self._zoom else None,
            self._clock,
            lambda keep: probe.set_keeping(keep),
            GenerationProgress() if (is_watched() if self._progress is None else self._progress) else None,
        )
        _mark_boundaries(watches, tracker, self._resolutions)
        self._hook_the_load(watches)
        self._line_probe = self._make_line_probe(watches)
        finder = self._call_finder(watches) if self._zoom & {"calls", "functions"} else None
        probe = backend()(
            list(watches.values()),
            builtin_watches,
            self._describer,
            self._memory if "memory" in self._zoom else None,
            self._clock,
            finder,
            self._line_probe,
        )
        probe.tracker = self._tracker = tracker
        if "modules" in self._zoom:
            self._module_reader = ModuleReader(
                self._describer, self._functions.of, probe.is_outermost_module, self._memory.count_model
            )
            watch = module_watch(self._module_reader, self._describer)
            probe.watches[id(watch.code)] = watch
            self._values = ValuesProbe() if "values" in self._zoom else None
            watch.measure = self._values.module_returned if self._values else None
        self._sampling = self._watch_the_sampling(probe) if "sampling" in self._zoom else None
        return probe

    def _watch_the_sampling(self, probe: CallProbe) -> SamplingProbe:
        sampling = SamplingProbe(self._tracker, probe.tell)
        hooks = {
            "gen.sample": (sampling.decoding_begins, sampling.decoding_ends),
            "smp.processors": (sampling.chain_begins, sampling.chain_ends),
            "smp.stop": (sampling.token_chosen, None),
        }
        for resolution in self._resolutions:
            if resolution.landmark.id in hooks and resolution.code is not None:
                probe.tell(resolution.code, *hooks[resolution.landmark.id])
        return sampling

    def _watches(self) -> tuple[dict[int, Watch], list[BuiltinWatch]]:
        """A watch for each landmark's code, and one for each caller of a builtin."""
        watches: dict[int, Watch] = {}
        builtin_watches: list[BuiltinWatch] = []
        for resolution in self._resolutions:
            landmark = resolution.landmark
            samples = not landmark.repeats_within_a_step
            if resolution.callers:
                function = self._functions.of_builtin(resolution.target)
                builtin_watches.extend(
                    BuiltinWatch(resolution.function, code, function, names, samples)
                    for code, names in _distinct(resolution.callers)
                )
            elif resolution.code is not None and not self._is_module_call(resolution):
                known = watches.get(id(resolution.code))
                if known is None:
                    watches[id(resolution.code)] = self._call_watch(resolution, samples)
                else:
                    known.samples_memory = known.samples_memory and samples
        return watches, builtin_watches

    def _call_watch(self, resolution: landmark_table.Resolution, samples: bool) -> Watch:
        code = resolution.code
        return Watch(
            code,
            call_reader(code, self._functions.of(code), self._describer),
            result_closer(self._describer),
            samples_memory=samples,
            accepts=_called_by(resolution.landmark.caller) if resolution.landmark.caller else None,
        )

    def _make_line_probe(self, watches: dict[int, Watch]) -> LineProbe | None:
        """Watches the functions whose lines are recorded, and takes their lines."""
        if not self._lines:
            return None
        by_id = {resolution.landmark.id: resolution for resolution in self._resolutions}
        codes = []
        for name in self._lines:
            code = _code_named(name, by_id)
            if code is not None:
                codes.append(code)
                if id(code) not in watches:
                    reader = call_reader(code, self._functions.of(code), self._describer)
                    watches[id(code)] = Watch(code, reader, result_closer(self._describer))
        return LineProbe(codes, self._describer, self._clock)

    def _call_finder(self, watches: dict[int, Watch]) -> CallFinder:
        chosen = None if "calls" in self._zoom else is_computation
        finder = CallFinder(self._describer, self._functions.of, forwards="modules" not in self._zoom, chosen=chosen)
        import_watch = finder.import_watch()
        watches[id(import_watch.code)] = import_watch
        return finder

    def _is_module_call(self, resolution: landmark_table.Resolution) -> bool:
        """Whether module events already tell of this landmark: a module's forward, or Module.__call__ itself."""
        if resolution.code is torch.nn.Module._wrapped_call_impl.__code__:
            return True
        if "modules" not in self._zoom or not resolution.target.endswith(".forward"):
            return False
        owner = landmark_table.find(resolution.target.rpartition(".")[0])
        return isinstance(owner, type) and issubclass(owner, torch.nn.Module)

    def _hook_the_load(self, watches: dict[int, Watch]) -> None:
        """Tell the loading ledger, and the memory series, of what the load's landmarks see."""
        ledger = self._loading
        hooks = {
            "load.driver": (ledger.load_begins, ledger.load_ends),
            "load.submit": (ledger.queued, None),
            "load.materialize": (ledger.materialize_begins, ledger.materialize_ends),
            "load.place_param": (ledger.placed, None),
            "load.offload": (ledger.offloaded, None),
            "model.from_pretrained": (None, self._model_loaded),
        }
        for resolution in self._resolutions:
            if resolution.landmark.id in hooks and resolution.code is not None:
                watches[id(resolution.code)].add_hooks(*hooks[resolution.landmark.id])
        # no landmarks of every version, but where 4.47 fills modules and where .bin files are read
        for target, on_enter, on_exit in (
            ("torch.nn.modules.module:Module._load_from_state_dict", ledger.module_filled, None),
            ("transformers.modeling_utils:load_state_dict", ledger.file_opened, ledger.file_read),
        ):
            code = landmark_table.code_of(landmark_table.find(target))
            watch = watches.setdefault(id(code), Watch(code))
            watch.add_hooks(on_enter, on_exit)

    def _model_loaded(self, value: object) -> None:
        self._loading.model_ready(value)
        model = value[0] if isinstance(value, tuple) and value else value  # output_loading_info=True gives a pair
        if isinstance(model, torch.nn.Module):
            self._memory.count_model(model)

    # finishing the recording ---------------------------------------------------------------------------------------

    def _finish(self, exception_type: type | None) -> None:
        recording = self.recording
        recording.functions = self._functions.rows
        recording.paths = self._module_reader.names.paths if self._module_reader else []
        recording.threads = self._probe.thread_names
        recording.specs = self._describer.specs
        recording.tensor_lists = self._describer.tensor_lists
        recording.value_lists = self._describer.value_lists
        recording.events = event_columns(self._probe.log.starts, self._probe.log.ends, self._clock())
        recording.memory_series = columns(self._memory.columns(), MEMORY_COLUMNS, ("time",))
        recording.step_rows = columns(self._tracker.columns(), STEP_COLUMNS, ("start", "end"))
        recording.landmark_statuses = [self._status(resolution) for resolution in self._resolutions]
        recording.loads = [rounded(row) for row in self._loading.rows()]
        recording.samples = self._sampling.rows() if self._sampling else []
        recording.value_rows = value_columns(self._values, self._probe.log.starts)
        for probe in filter(None, (self._loading, self._sampling, self._values)):
            recording.warnings.extend(probe.problems.values())
        recording.line_rows = line_columns(self._line_probe, self._probe.log.starts)
        recording.sources = self._functions.sources(self._seen_functions())
        recording.environment = environment(self._zoom, self._steps, self._probe.name)
        if exception_type is not None:
            recording.environment["ended_by"] = exception_type.__name__
        if self._version_warning:
            recording.warnings.append(self._version_warning)
        recording.finished = True

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
        return LandmarkStatus(resolution.landmark.id, function, resolution.reason)


def _distinct(
    callers: Iterable[tuple[types.CodeType, dict[str, str]]],
) -> list[tuple[types.CodeType, dict[str, str]]]:
    """One entry per calling code: two names of the table may be one function (a renamed class)."""
    return list({id(code): (code, names) for code, names in callers}.values())


def _code_named(name: str, by_id: dict[str, landmark_table.Resolution]) -> types.CodeType | None:
    """The code of a landmark or of "module:qualname"; None for a landmark without a function of its own here."""
    if name in by_id:
        return by_id[name].code
    try:
        code = landmark_table.code_of(landmark_table.find(name)) if ":" in name else None
    except (ImportError, AttributeError) as error:
        raise RecordingError(f"lines={name!r}: {error}. Give a landmark id or module:qualname.") from error
    if code is None:
        raise RecordingError(f"lines={name!r} names no Python function. Give a landmark id or module:qualname.")
    return code


def _called_by(qualname: str) -> Callable[[types.FrameType], bool]:
    """Whether a call was made directly by the function of this qualified name."""
    return lambda frame: frame.f_back is not None and frame.f_back.f_code.co_qualname == qualname


def _mark_boundaries(
    watches: dict[int, Watch], tracker: StepTracker, resolutions: list[landmark_table.Resolution]
) -> None:
    """The landmarks that tell where a generation and its steps begin and end. They stay on in summarised steps."""
    roles = {
        "gen.generate": (tracker.generate_entered, tracker.generate_left),
        "gen.prepare_inputs": (tracker.inputs_prepared, None),
        "gen.update_kwargs": (None, tracker.kwargs_updated),
        "smp.stop": (None, tracker.token_finished),
    }
    for resolution in resolutions:
        if resolution.landmark.id in roles and resolution.code is not None:
            watch = watches[id(resolution.code)]
            watch.boundary = True
            watch.on_enter, watch.on_exit = roles[resolution.landmark.id]
