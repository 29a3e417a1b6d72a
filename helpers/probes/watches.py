"""Which code objects the call probe tells of in a recording, and what is read of each: a watch per landmark, and what
the zoom adds to them."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch

from .. import landmarks as landmark_table
from ..compat import continuous_batch_method
from ..events import RecordingError
from ..process_group import own_rank
from .collectives import collective_watches
from .describe import Describer
from .functions import FunctionTable
from .lines import LineProbe
from .loading import LoadingProbe
from .offload import offload_watch
from .packages import CallFinder, is_computation
from .read_locals import LoopLocals, of_frame
from .redact import text
from .steps import StepTracker
from .watch import BuiltinWatch, Watch, builtin_reader, call_reader

Hooks = tuple[Callable | None, Callable | None]  # on_enter, on_exit


class Watches:
    """The watches of one recording: `by_code` (by id of the code object) and `builtins`, one per calling function."""

    def __init__(
        self,
        resolutions: list[landmark_table.Resolution],
        zoom: frozenset[str],
        functions: FunctionTable,
        describer: Describer,
    ) -> None:
        self.by_code: dict[int, Watch] = {}
        self.builtins: list[BuiltinWatch] = []
        self.problems: dict[str, str] = {}  # what an installed library does not have as expected: not observed
        self._forwards: dict[int, bool] = {}  # id of a landmark's code that module events tell of: reads memory?
        self._resolutions = resolutions
        self._zoom = zoom
        self._functions = functions
        self._describer = describer
        self._loop_locals = LoopLocals()
        self._loop = {id(code) for code, _ in self.codes({"gen.sample": (None, None)})}
        for resolution in resolutions:
            self._add_landmark(resolution)
        if "modules" in zoom:
            self._watch_offload()
        if own_rank() is not None:
            self.by_code |= collective_watches(describer, functions.of)

    def _watch_offload(self) -> None:
        try:
            self._add(offload_watch(self._describer, self._functions.of, all_calls="calls" in self._zoom))
        except Exception as error:  # another accelerate, or one that cannot be imported
            self._not_observed("what accelerate's offload hooks move", error)

    def _not_observed(self, what: str, error: Exception) -> None:
        self.problems[what] = f"{what}: not observed ({text(f'{type(error).__name__}: {error}')})"

    def _add(self, watch: Watch) -> Watch:
        self.by_code[id(watch.code)] = watch
        return watch

    def _add_landmark(self, resolution: landmark_table.Resolution) -> None:
        landmark = resolution.landmark
        samples = not landmark.repeats_within_a_step
        if resolution.callers:
            function = self._functions.of_builtin(resolution.target)
            for code, names in _distinct(resolution.callers):
                locals_of = self._loop_locals.read if id(code) in self._loop else of_frame
                reader = builtin_reader(function, names, self._describer, locals_of)
                self.builtins.append(BuiltinWatch(resolution.function, code, reader, samples_memory=samples))
        elif resolution.code is not None and self._is_module_call(resolution):
            self._forwards[id(resolution.code)] = samples
        elif resolution.code is not None:
            known = self.by_code.get(id(resolution.code))
            if known is None:
                accepts = self._accepts(landmark)
                self._add(self._call_watch(resolution.code, samples_memory=samples, accepts=accepts))
            else:
                known.samples_memory = known.samples_memory and samples

    def _accepts(self, landmark: landmark_table.Landmark) -> Callable[[types.FrameType], bool] | None:
        """Which calls of a landmark's function are events; None: all."""
        if landmark.caller:
            return _called_by(landmark.caller)
        shown_within_modules = self._zoom & {"calls", "functions"}
        if landmark.outside_modules and not shown_within_modules:
            generate = next((code for code, _ in self.codes({"gen.generate": (None, None)})), None)
            return _outside_modules(generate)
        return None

    def _call_watch(self, code: types.CodeType, **settings) -> Watch:
        reader = call_reader(code, self._functions.of(code), self._describer)
        return Watch(code, reader, **settings)

    def _is_module_call(self, resolution: landmark_table.Resolution) -> bool:
        """Whether module events already tell of this landmark: a module's forward, or Module.__call__ itself."""
        if resolution.code is torch.nn.Module._wrapped_call_impl.__code__:
            return True
        if "modules" not in self._zoom or not resolution.target.endswith(".forward"):
            return False
        owner = landmark_table.find(resolution.target.rpartition(".")[0])
        return isinstance(owner, type) and issubclass(owner, torch.nn.Module)

    # what the probes want to be told of ------------------------------------------------------------------------------

    def codes(self, hooks: Mapping[str, Hooks]) -> list[tuple[types.CodeType, Hooks]]:
        """The code of each landmark that is named, with its hooks; landmarks without a function here are left out."""
        return [
            (resolution.code, hooks[resolution.landmark.id])
            for resolution in self._resolutions
            if resolution.landmark.id in hooks and resolution.code is not None
        ]

    def mark_boundaries(self, tracker: StepTracker) -> None:
        """The landmarks that tell where a generation and its steps begin and end. They stay on in summarised steps."""
        roles = {
            "gen.generate": (tracker.generate_entered, tracker.generate_left),
            **methods_of_steps(tracker),
            "smp.processors": (tracker.scores_processed, None),
            "smp.stop": (tracker.token_chosen, tracker.token_finished),
        }
        for code, hooks in self.codes(roles):
            watch = self.by_code[id(code)]
            watch.boundary = True
            watch.on_enter, watch.on_exit = hooks
        forgetting = {
            "smp.stop": (None, self._loop_locals.token_chosen),
            "gen.sample": (None, self._loop_locals.loop_ends),
        }
        for code, own in self.codes(forgetting):
            self.by_code[id(code)].add_hooks(*own)
        code = landmark_table.code_of(continuous_batch_method())
        if code is not None:
            watch = self._add(self._call_watch(code) if "calls" in self._zoom else Watch(code))
            watch.boundary = True
            watch.on_enter = tracker.batch_begins

    def inherited_forwards(self, kind: type[torch.nn.Module]) -> Iterator[Watch]:
        """The landmarks among the forwards that this class has overridden: its own may call them. A module's own
        forward is told by its module event."""
        for base in kind.__mro__[1:]:
            code = landmark_table.code_of(base.__dict__.get("forward"))
            if code is not None and id(code) in self._forwards:
                yield self._call_watch(code, samples_memory=self._forwards[id(code)], accepts=_is_inherited)

    def watch_attention(self, add: Callable[[Watch], None]) -> None:
        """With the zooms functions and calls `add` gets a watch on the attention function that a model asks for: it may
        be the reader's own."""
        if not self._zoom & {"calls", "functions"}:
            return
        asked_for: dict[int, types.CodeType] = {}

        def function_given(function: object) -> None:
            code = landmark_table.code_of(function)
            if code is not None and id(code) not in asked_for:
                asked_for[id(code)] = code
                add(self._call_watch(code))

        for code, hooks in self.codes({"fwd.attn_table": (None, function_given)}):
            self.by_code[id(code)].add_hooks(*hooks)

    def hook_the_load(self, ledger: LoadingProbe, model_loaded: Callable[[object], None]) -> None:
        """Tell the loading ledger, and the memory series, of what the load's landmarks see."""
        hooks = {
            "load.driver": (ledger.load_begins, ledger.load_ends),
            "load.submit": (ledger.queued, None),
            "load.materialize": (ledger.materialize_begins, ledger.materialize_ends),
            "load.place_param": (ledger.placed, None),
            "load.offload": (ledger.offloaded, None),
            "model.from_pretrained": (ledger.load_wanted, model_loaded),
        }
        for code, own in self.codes(hooks):
            self.by_code[id(code)].add_hooks(*own)
        # no landmarks of every version, but where 4.47 fills modules and where .bin files are read
        for target, on_enter, on_exit in (
            ("torch.nn.modules.module:Module._load_from_state_dict", ledger.module_filled, None),
            ("transformers.modeling_utils:load_state_dict", ledger.file_opened, ledger.file_read),
        ):
            try:
                code = landmark_table.code_of(landmark_table.find(target))
                if code is None:
                    raise TypeError("it is no Python function")
            except Exception as error:  # another version; of its tensors the ledger knows less then
                self._not_observed(f"loading ledger: {target}", error)
                continue
            self.by_code.setdefault(id(code), Watch(code)).add_hooks(on_enter, on_exit)

    def line_probe(self, names: Iterable[str], clock: Callable[[], int]) -> LineProbe | None:
        """Watches the functions whose lines are recorded, and takes their lines; None where none is named.

        Raises RecordingError for a function that there is not.
        """
        by_id = {resolution.landmark.id: resolution for resolution in self._resolutions}
        named = {name: _code_named(name, by_id) for name in names}
        for code in filter(None, named.values()):
            if id(code) not in self.by_code:
                self._add(self._call_watch(code))
        return LineProbe(named, self._describer, clock) if named else None

    def call_finder(self) -> CallFinder | None:
        """Finds the functions of the zooms calls and functions as they are called; None without these."""
        if not self._zoom & {"calls", "functions"}:
            return None
        chosen = None if "calls" in self._zoom else is_computation
        finder = CallFinder(self._describer, self._functions.of, forwards="modules" not in self._zoom, chosen=chosen)
        self._add(finder.import_watch())
        return finder


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
    except Exception as error:  # importing a module runs it, and it may fail in any way
        raise RecordingError(f"lines={name!r}: {error}. Give a landmark id or module:qualname.") from error
    if code is None:
        raise RecordingError(f"lines={name!r} names no Python function. Give a landmark id or module:qualname.")
    return code


def _called_by(qualname: str) -> Callable[[types.FrameType], bool]:
    """Whether a call was made directly by the function of this qualified name."""
    return lambda frame: frame.f_back is not None and frame.f_back.f_code.co_qualname == qualname


def _outside_modules(generate: types.CodeType | None) -> Callable[[types.FrameType], bool]:
    """Whether no module call is around a call, unless generate() runs within that."""
    module_call = torch.nn.Module._wrapped_call_impl.__code__

    def outside(frame: types.FrameType) -> bool:
        around = frame.f_back
        while around is not None and around.f_code is not generate:
            if around.f_code is module_call:
                return False
            around = around.f_back
        return True

    return outside


def methods_of_steps(tracker: StepTracker) -> dict[str, Hooks]:
    """The landmarks among the methods of a model that tell of a step, with their hooks; a model may have its own."""
    return {"gen.prepare_inputs": (tracker.inputs_prepared, None), "gen.update_kwargs": (None, tracker.kwargs_updated)}


def _is_inherited(frame: types.FrameType) -> bool:
    """Whether a forward runs that is not the one of its module's class: super().forward(…)."""
    owner = frame.f_locals.get(frame.f_code.co_varnames[0])
    return landmark_table.code_of(getattr(type(owner), "forward", None)) is not frame.f_code
