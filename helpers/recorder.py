"""record(): puts the probes on, takes them off, and gives a Recording."""

from __future__ import annotations

import functools
import inspect
import os
import platform
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from importlib import metadata

import numpy as np
import torch

from . import landmarks as landmark_table
from .events import EVENT_COLUMNS, MEMORY_COLUMNS, NOT_OBSERVED, OPEN, STEP_COLUMNS, RecordingError
from .probes import redact
from .probes.calls import CallProbe, backend
from .probes.describe import Describer
from .probes.loading import LoadingProbe
from .probes.memory import MemoryProbe
from .probes.modules import ModuleReader, module_watch
from .probes.packages import CallFinder
from .probes.steps import StepTracker
from .probes.watch import BuiltinWatch, Watch, call_reader, result_closer
from .recorder_settings import DEFAULT_STEPS, ZOOMS, checked_zoom
from .recording import Function, LandmarkStatus, LoadRow, Recording

TICK = 100  # nanoseconds: the resolution that is kept


def record(*zoom: str, steps: int | None = DEFAULT_STEPS) -> Recorder:
    """Record what transformers does inside a `with` block, or in each call of a function that it decorates.

        with record() as recording:
            model = AutoModelForCausalLM.from_pretrained(checkpoint)
        recording.landmarks()

        @record()
        def answer(question): ...
        answer("…")
        answer.recording.landmarks()  # of the last call

    `zoom`: any of "landmarks" (always recorded), "calls" (every Python call in transformers, accelerate, safetensors,
    huggingface_hub and tokenizers), "modules" and "memory"; by default landmarks, modules and memory. `steps`: how
    many generation steps of each generate() call are kept in full (the prefill is the first); each later one is a
    summary row. None keeps all. Metadata only: no tensor is kept, no value is read, no device is synchronised.

    Raises RecordingError for an unknown zoom or a steps below 1, and, on entering, when another recording or
    profiler holds the interpreter's only place.
    """
    return Recorder(checked_zoom(zoom, steps), steps)


_RUN_LATER = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)


class Recorder(AbstractContextManager):
    """One run of the probes. Entered once; use `record()` again for another recording."""

    def __init__(self, zoom: frozenset[str], steps: int | None) -> None:
        self.recording = Recording()
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
            with Recorder(self._zoom, self._steps) as recording:
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
        )
        _mark_boundaries(watches, tracker, self._resolutions)
        self._hook_the_load(watches)
        finder = self._call_finder(watches) if "calls" in self._zoom else None
        probe = backend()(
            list(watches.values()),
            builtin_watches,
            self._describer,
            self._memory if "memory" in self._zoom else None,
            self._clock,
            finder,
        )
        probe.tracker = self._tracker = tracker
        if "modules" in self._zoom:
            self._module_reader = ModuleReader(
                self._describer, self._functions.of, probe.is_outermost_module, self._memory.count_model
            )
            watch = module_watch(self._module_reader, self._describer)
            probe.watches[id(watch.code)] = watch
        return probe

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

    def _call_finder(self, watches: dict[int, Watch]) -> CallFinder:
        finder = CallFinder(self._describer, self._functions.of, forwards="modules" not in self._zoom)
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
        recording.events = _event_columns(self._probe.log.starts, self._probe.log.ends, self._clock())
        recording.memory_series = _columns(self._memory.columns(), MEMORY_COLUMNS, ("time",))
        recording.step_rows = _columns(self._tracker.columns(), STEP_COLUMNS, ("start", "end"))
        recording.landmark_statuses = [self._status(resolution) for resolution in self._resolutions]
        recording.loads = [_rounded(row) for row in self._loading.rows()]
        recording.warnings.extend(self._loading.problems.values())
        recording.sources = self._functions.sources(self._seen_functions())
        recording.environment = environment(self._zoom, self._steps, self._probe.name)
        if exception_type is not None:
            recording.environment["ended_by"] = exception_type.__name__
        if self._version_warning:
            recording.warnings.append(self._version_warning)
        recording.finished = True

    def _seen_functions(self) -> set[int]:
        landmark_functions = {status.function for status in self.recording.landmark_statuses}
        return landmark_functions & set(np.unique(self.recording.events["function"]).tolist())

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


class FunctionTable:
    """The functions of a recording: code objects to rows, kept once."""

    def __init__(self) -> None:
        self.rows: list[Function] = []
        self._codes: list[types.CodeType | None] = []
        self._by_code: dict[int, int] = {}
        self._by_builtin: dict[str, int] = {}

    def of(self, code: types.CodeType) -> int:
        """Index of the row of this code object."""
        index = self._by_code.get(id(code))
        if index is None:
            file = redact.source_path(code.co_filename)
            module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            index = self._by_code[id(code)] = self._add(
                Function(module, code.co_qualname, file, code.co_firstlineno), code
            )
        return index

    def of_builtin(self, target: str) -> int:
        """Index of the row of a builtin, named `module:qualname`."""
        index = self._by_builtin.get(target)
        if index is None:
            module, _, qualname = target.partition(":")
            index = self._by_builtin[target] = self._add(Function(module, qualname, "", 0), None)
        return index

    def _add(self, function: Function, code: types.CodeType | None) -> int:
        self.rows.append(function)
        self._codes.append(code)  # kept alive, so that its id stays its own
        return len(self.rows) - 1

    def sources(self, indexes: Iterable[int]) -> dict[str, str]:
        """Source text as installed, by "module:qualname"; functions without source are left out."""
        texts: dict[str, str] = {}
        for index in sorted(indexes):
            if index == NOT_OBSERVED or self._codes[index] is None:
                continue
            try:
                text = inspect.getsource(self._codes[index])
            except (OSError, TypeError):
                continue  # its file is not there: a view says so
            function = self.rows[index]
            texts[f"{function.module}:{function.qualname}"] = text
        return texts


def _event_columns(starts: list[tuple], ends: list[tuple], now: int) -> dict[str, np.ndarray]:
    """Join starts and ends, in the order of starting; a call without an end was still open."""
    starts = sorted(starts)
    place = {row[0]: position for position, row in enumerate(starts)}
    count = len(starts)
    ended = np.tile(np.array([now, 0, 0, NOT_OBSERVED, OPEN], dtype=np.int64), (count, 1))
    for index, *rest in ends:
        if index in place:
            ended[place[index]] = rest
    table = np.array([row[1:] for row in starts], dtype=np.int64).reshape(count, 11)
    kind, function, path, inputs, arguments, thread, parent, generation, step, before, start = table.T
    columns = {
        "kind": kind,
        "function": function,
        "path": path,
        "thread": thread,
        "parent": np.array([place.get(index, NOT_OBSERVED) for index in parent.tolist()], dtype=np.int64),
        "generation": generation,
        "step": step,
        "start": start // TICK * TICK,
        "end": np.maximum(ended[:, 0], start) // TICK * TICK,
        "inputs": inputs,
        "arguments": arguments,
        "outputs": ended[:, 1],
        "result": ended[:, 2],
        "memory_before": before,
        "memory_after": ended[:, 3],
        "status": ended[:, 4],
    }
    return {name: np.ascontiguousarray(columns[name]) for name in EVENT_COLUMNS}


def _rounded(row: LoadRow) -> LoadRow:
    """Times in the resolution that is kept."""
    times = {name: getattr(row, name) for name in ("started", "finished", "placed")}
    return row._replace(**{name: None if time is None else time // TICK * TICK for name, time in times.items()})


def _columns(rows: dict[str, list[int]], names: tuple[str, ...], times: tuple[str, ...]) -> dict[str, np.ndarray]:
    columns = {name: np.asarray(rows[name], dtype=np.int64) for name in names}
    for name in times:
        columns[name] = columns[name] // TICK * TICK
    return columns


_PACKAGES = ("torch", "transformers", "accelerate", "safetensors", "tokenizers", "huggingface_hub")


def environment(zoom: Iterable[str], steps: int | None, probe: str) -> dict:
    """Where and how a recording was made: versions, Python, devices, threads, loading mode; plain values only."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        **versions,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "cuda_devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "async_load": os.environ.get("HF_DEACTIVATE_ASYNC_LOAD", "").upper() not in ("1", "TRUE", "YES", "ON"),
        "zoom": [name for name in ZOOMS if name in zoom],
        "steps_in_full": steps,
        "probe": probe,
        "recorder_python_implementation": sys.implementation.name,
    }
