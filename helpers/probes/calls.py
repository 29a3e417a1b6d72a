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

from ..events import NOT_OBSERVED, NOTHING, OPEN
from .event_log import EventLog
from .event_writer import event_writer
from .redact import text
from .watch import BuiltinWatch, Watch

if TYPE_CHECKING:  # they need torch; this probe does not
    from .describe import Describer
    from .lines import LineProbe
    from .memory import MemoryProbe


class ThreadState:
    """One thread: its open calls, innermost last (event index or -1, watch, frame, index of the innermost event,
    whether memory was read), and where it is in a generation."""

    __slots__ = ("generation", "keeping", "modules", "number", "stack", "step")

    def __init__(self, number: int) -> None:
        self.stack: list[tuple[int, Watch | BuiltinWatch, types.FrameType, int, bool]] = []
        self.modules = 0  # how many of them are module calls
        self.number = number
        self.generation = self.step = NOT_OBSERVED  # the step tracker sets them
        self.keeping = True  # whether its events are kept in full, or only the boundaries of steps are watched


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
        self.problems: dict[str, str] = {}
        self.thread_names: list[str] = []
        self.states: list[ThreadState] = []  # of all threads that were seen, by their number
        self._find_watch = find_watch
        self._turned_down: dict[int, types.CodeType] = {}  # held, so that an id stays its code's
        self._clock = clock
        self.local = threading.local()
        self._adding_thread = threading.Lock()
        self.begin, self.end = event_writer(self, describer, memory, clock)

    # installed by the backends -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Put the probe on. Raises RecordingError when something else holds the place."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take the probe off; the interpreter is as before."""
        raise NotImplementedError

    def was_interrupted(self, goes_on: bool) -> None:
        """Ctrl-C was raised in a callback of this probe; `goes_on`: the program caught it. Told after `stop`."""

    def callbacks(self) -> list[Callable]:
        """The functions that the interpreter calls; asked while the probe is on."""
        raise NotImplementedError

    def unseen_threads(self) -> list[str]:
        """Names of threads that worked meanwhile and could not be seen."""
        return []

    def set_keeping(self, keeping: bool) -> None:
        """Whether this thread's events are kept in full, or only the boundaries of steps are watched."""
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

    def add(self, watch: Watch) -> None:
        """Watch this code too, from now on, where nothing watches it yet."""
        if self.watches.setdefault(id(watch.code), watch) is watch:
            self._switch_on(watch)

    def _switch_on(self, watch: Watch) -> None:
        """Have the interpreter tell of a watch that was added while the probe runs."""

    def state(self) -> ThreadState:
        """This thread's open calls."""
        try:
            return self.local.state
        except AttributeError:
            return self.new_thread()

    def new_thread(self) -> ThreadState:
        with self._adding_thread:  # a number is one thread's
            state = self.local.state = ThreadState(len(self.states))
            self.states.append(state)
            self.thread_names.append(text(threading.current_thread().name))
        return state

    def is_outermost_module(self) -> bool:
        """Whether no module call is open in this thread."""
        return self.state().modules == 0

    def told(self, hook: Callable[[object], None], argument: object) -> None:
        try:
            hook(argument)
        except Exception as error:
            self.note(getattr(hook, "__qualname__", "a hook"), error)

    def note(self, what: str, error: Exception) -> None:
        self.problems.setdefault(what, f"{what} not observed ({text(f'{type(error).__name__}: {error}')})")

    def line(self, frame: types.FrameType, number: int) -> None:
        """A line of a function whose lines are recorded begins in `frame`."""
        for index, _, open_frame, *_ in reversed(self.state().stack):
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
                self.log.ends.write(self.log.ends.pack(index, now, NOTHING, NOT_OBSERVED, OPEN))


def backend() -> type[CallProbe]:
    """The call probe for this Python."""
    if sys.version_info >= (3, 12):
        from .monitoring import MonitoringProbe

        return MonitoringProbe
    from .profile import ProfileProbe

    return ProfileProbe
