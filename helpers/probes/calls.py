"""The call probe: one source of events for landmarks, modules and builtins.

Two backends behind one interface, with equal results: `sys.monitoring` with local events on Python 3.12 and later,
`sys.setprofile` with `threading.setprofile` before it. Functions are matched by the identity of their code object.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..events import BUILTIN, MODULE, NOT_OBSERVED, NOTHING, OPEN, RAISED
from .watch import BuiltinWatch, EventLog, Watch

if TYPE_CHECKING:  # they need torch; this probe does not
    from .describe import Describer
    from .lines import LineProbe
    from .memory import MemoryProbe
    from .steps import StepTracker


class ThreadState:
    """The open calls of one thread, innermost last: (event index or -1, watch, frame, index of the innermost event)."""

    __slots__ = ("modules", "number", "stack")

    def __init__(self, number: int) -> None:
        self.stack: list[tuple[int, Watch | BuiltinWatch, types.FrameType, int]] = []
        self.modules = 0  # how many of them are module calls
        self.number = number


class CallProbe:
    """Writes one event per watched call into its log. Subclasses install themselves in the interpreter."""

    def __init__(
        self,
        watches: list[Watch],
        builtin_watches: list[BuiltinWatch],
        describer: Describer,
        memory: MemoryProbe | None,
        clock: Callable[[], int],
        find_watch: Callable[[types.CodeType], Watch | None] | None = None,
        lines: LineProbe | None = None,
    ) -> None:
        self.lines = lines
        self.log = EventLog()
        self.watches = {id(watch.code): watch for watch in watches}
        self.boundaries = {id(watch.code): watch for watch in watches if watch.boundary}
        self.builtin_watches: dict[int, list[BuiltinWatch]] = {}
        for watch in builtin_watches:
            self.builtin_watches.setdefault(id(watch.caller), []).append(watch)
        self.thread_names: list[str] = []
        self.tracker: StepTracker | None = None  # set by the recorder: the tracker calls back into this probe
        self.keeping = True
        self._find_watch = find_watch
        self._turned_down: dict[int, types.CodeType] = {}  # held, so that an id stays its code's
        self._describer = describer
        self._memory = memory
        self._clock = clock
        self._local = threading.local()

    # installed by the backends -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Put the probe on. Raises RecordingError when something else holds the place."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take the probe off; the interpreter is as before."""
        raise NotImplementedError

    def set_keeping(self, keeping: bool) -> None:
        """Whether events are kept in full, or only the boundaries of steps are watched."""
        raise NotImplementedError

    # called by the backends ----------------------------------------------------------------------------------------

    @property
    def finds_watches(self) -> bool:
        """Whether functions that were not named before are looked at too (zoom level "calls")."""
        return self._find_watch is not None

    def watch_of(self, code: types.CodeType) -> Watch | None:
        """The watch on this code, made now if it is one to be watched."""
        key = id(code)
        watch = self.watches.get(key)
        if watch is None and self._find_watch is not None and key not in self._turned_down:
            watch = self._find_watch(code)
            if watch is None:
                self._turned_down[key] = code
            else:
                self.watches[key] = watch
        return watch

    def tell(
        self,
        code: types.CodeType,
        on_enter: Callable[[types.FrameType], None] | None,
        on_exit: Callable[[object], None] | None = None,
    ) -> None:
        """Call these hooks for each call of this code from now on, in every step, also where it was not watched."""
        watch = self.watch_of(code)
        if watch is None:
            watch = self.watches[id(code)] = Watch(code)
        watch.add_hooks(on_enter, on_exit)
        watch.boundary = True
        self.boundaries[id(code)] = watch
        self._switch_on(watch)

    def _switch_on(self, watch: Watch) -> None:
        """Have the interpreter tell of a watch that was added while the probe runs."""

    def state(self) -> ThreadState:
        """This thread's open calls."""
        try:
            return self._local.state
        except AttributeError:
            self.thread_names.append(threading.current_thread().name)
            self._local.state = ThreadState(len(self.thread_names) - 1)
            return self._local.state

    def is_outermost_module(self) -> bool:
        """Whether no module call is open in this thread."""
        return self.state().modules == 0

    def begin(self, watch: Watch, frame: types.FrameType) -> None:
        """A watched Python function starts in `frame`."""
        if watch.accepts is not None and not watch.accepts(frame):
            return
        state = self.state()
        if watch.on_enter is not None:
            watch.on_enter(frame)
        if not self.keeping or watch.read is None:
            state.stack.append((NOT_OBSERVED, watch, frame, _innermost(state)))
            return
        before = self._memory.sample() if self._memory and self._samples(watch, state) else NOT_OBSERVED
        self._open(state, watch, frame, watch.kind, watch.read(frame), before)

    def begin_builtin(self, watch: BuiltinWatch, frame: types.FrameType) -> None:
        """A watched builtin is called by `frame`."""
        if not self.keeping:
            return
        before = self._memory.sample() if watch.samples_memory and self._memory else NOT_OBSERVED
        values = frame.f_locals
        arguments: list[tuple[str, object]] = []
        for local, name in watch.local_names.items():
            if local not in values:
                continue
            if name.startswith("**"):
                arguments.extend(values[local].items())
            else:
                arguments.append((name, values[local]))
        seen = (watch.function, NOT_OBSERVED, *self._describer.describe(arguments))
        self._open(self.state(), watch, frame, BUILTIN, seen, before)

    @staticmethod
    def _samples(watch: Watch | BuiltinWatch, state: ThreadState) -> bool:
        """Whether memory is read around this call: at landmarks, and around the outermost module call only."""
        return watch.samples_memory or (watch.kind == MODULE and state.modules == 0)

    def _open(self, state: ThreadState, watch, frame: types.FrameType, kind: int, seen: tuple, before: int) -> None:
        stack = state.stack
        index = self.log.next_index()
        parent = stack[-1][3] if stack else NOT_OBSERVED
        stack.append((index, watch, frame, index))
        if kind == MODULE:
            state.modules += 1
        tracker = self.tracker
        self.log.starts.append(
            (
                index,
                kind,
                *seen,
                state.number,
                parent,
                tracker.generation,
                tracker.step,
                before,
                self._clock(),
            )
        )

    def end(self, state: ThreadState, value: object, status: int) -> None:
        """The innermost open call of this thread ended with `value` (None when an exception left it)."""
        now = self._clock()
        index, watch, frame, _ = state.stack.pop()
        if type(watch) is BuiltinWatch:
            tensors = values = NOTHING
        else:
            if watch.kind == MODULE and index != NOT_OBSERVED:
                state.modules -= 1
            if watch.on_exit is not None:
                watch.on_exit(value)
            if index == NOT_OBSERVED:
                return
            if self.lines is not None and id(watch.code) in self.lines.codes:
                self.lines.ended(index, frame)
            tensors, values = (NOTHING, NOTHING) if status == RAISED else watch.close(value)
            if watch.measure is not None and status != RAISED:
                watch.measure(index, value, frame)
        after = self._memory.sample() if self._memory and self._samples(watch, state) else NOT_OBSERVED
        self.log.ends.append((index, now, tensors, values, after, status))

    def line(self, frame: types.FrameType, number: int) -> None:
        """A line of a function whose lines are recorded begins in `frame`."""
        for index, _, open_frame, _ in reversed(self.state().stack):
            if open_frame is frame:
                if index != NOT_OBSERVED:
                    self.lines.line(index, frame, number)
                return

    def close_open_calls(self) -> None:
        """Calls of this thread that still run when the recording ends are marked as open."""
        state = self.state()
        now = self._clock()
        while state.stack:
            index, *_ = state.stack.pop()
            if index != NOT_OBSERVED:
                self.log.ends.append((index, now, NOTHING, NOTHING, NOT_OBSERVED, OPEN))


def _innermost(state: ThreadState) -> int:
    """Index of the event that is open now; calls without an event of their own are looked through."""
    return state.stack[-1][3] if state.stack else NOT_OBSERVED


def backend() -> type[CallProbe]:
    """The call probe for this Python."""
    if sys.version_info >= (3, 12):
        from .monitoring import MonitoringProbe

        return MonitoringProbe
    from .profile import ProfileProbe

    return ProfileProbe
