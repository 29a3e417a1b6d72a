"""The call probe on `sys.monitoring` (PEP 669), for Python 3.12 and later.

Local events cost nothing where nothing is watched, and fire in all threads. Three traps: exceptions cannot be a local
event, so a global PY_UNWIND closes the calls that an exception leaves; callbacks get the code, not the frame; and
`free_tool_id` leaves local events, callbacks and what DISABLE has switched off alive for the id's next owner, so each
is taken back first.
"""

from __future__ import annotations

import dis
import functools
import sys
import threading
import types
from collections.abc import Callable, Sequence

from ..events import NOT_OBSERVED, RAISED, RETURNED, YIELDED, RecordingError
from .calls import CallProbe, ThreadState
from .watch import BuiltinWatch, Watch

NAME = "sys.monitoring"
TOOL = "helpers.record"
_NAMED = frozenset((types.BuiltinFunctionType, types.MethodDescriptorType, types.FunctionType, types.MethodType, type))
_TOOL_IDS = (4, 3)  # 0 to 2 and 5 are spoken for: debugger, coverage, profiler, optimizer


class MonitoringProbe(CallProbe):
    """Sees all threads, also those that were running before it started."""

    name = NAME
    _tool: int | None = None

    def start(self) -> None:
        """See CallProbe.start."""
        monitoring = sys.monitoring
        self._tool = next((number for number in _TOOL_IDS if monitoring.get_tool(number) is None), None)
        if self._tool is None:
            holders = ", ".join(repr(monitoring.get_tool(number)) for number in _TOOL_IDS)
            raise RecordingError(
                f"Both free places of sys.monitoring are taken, by {holders}. End one of them before record()"
                f"{f'; {TOOL!r} is another recording' if TOOL in holders else ''}."
            )
        monitoring.use_tool_id(self._tool, TOOL)
        events = monitoring.events
        self._disabled: list[int] = []  # ids of the code objects of which something was switched off
        on_start, on_return, on_yield, on_unwind = self._callbacks_of_functions()
        self._callbacks = {
            events.PY_START: on_start,
            events.PY_RETURN: on_return,
            events.PY_YIELD: on_yield,
            events.PY_UNWIND: on_unwind,
            **self._callbacks_of_builtins(),
            events.LINE: self._on_line,
        }
        for event, callback in self._callbacks.items():
            monitoring.register_callback(self._tool, event, callback)
        if self.finds_watches:
            monitoring.restart_events()  # an earlier recording has disabled the events of other code
        self._switching = threading.Lock()
        self._generating: set[ThreadState] = set()
        self._summarising: set[ThreadState] = set()
        self._in_full = True
        self._masks: dict[int, int] = {}  # by id of a code object, the local events that are on
        self._set_all(True)

    def stop(self) -> None:
        """See CallProbe.stop."""
        monitoring = sys.monitoring
        try:
            self._set_all(False, ending=True)
        finally:
            for event in self._callbacks:
                monitoring.register_callback(self._tool, event, None)
            if self._disabled:
                monitoring.restart_events()
            monitoring.free_tool_id(self._tool)

    def callbacks(self) -> list[Callable]:
        """See CallProbe.callbacks."""
        return [getattr(callback, "__func__", callback) for callback in self._callbacks.values()]

    def set_keeping(self, keeping: bool) -> None:
        """See CallProbe.set_keeping. Events are the interpreter's, for all threads: they go off while every generation
        that runs is in a step of which only a summary is kept."""
        state = self.state()
        with self._switching:
            state.keeping = keeping
            _put(state, self._generating, state.generation != NOT_OBSERVED)
            _put(state, self._summarising, not keeping)
            in_full = not self._summarising or bool(self._generating - self._summarising)
            if in_full != self._in_full:
                self._set_all(in_full)
                self._in_full = in_full

    def _set_all(self, on: bool, *, ending: bool = False) -> None:
        """Switch the local events of all watched code. Off, the boundaries of steps stay watched, what no step has
        called (another thread may load a model), and the returns of calls that are still open; `ending` takes
        everything off."""
        events = sys.monitoring.events
        everywhere = events.PY_UNWIND if not ending else 0
        if on and self.finds_watches:
            everywhere |= events.PY_START | events.PY_RETURN | events.PY_YIELD
        sys.monitoring.set_events(self._tool, everywhere)
        still_open = {
            id(watch.code) for state in self.states for _, watch, *_ in [*state.stack] if isinstance(watch, Watch)
        }
        masks: dict[int, int] = {}
        codes: dict[int, types.CodeType] = {}
        for key, watch in [*self.watches.items()]:  # a copy: other threads find functions meanwhile
            codes[key] = watch.code
            if ending:
                masks[key] = 0
            elif on or watch.boundary or not watch.in_steps:
                masks[key] = events.PY_START | events.PY_RETURN | (events.PY_YIELD if watch.is_generator else 0)
            else:
                masks[key] = events.PY_RETURN if key in still_open else 0
        if self.lines is not None:
            for key in self.lines.codes:
                masks[key] |= events.LINE if on else 0
        for key, watches in self.builtin_watches.items():
            codes[key] = watches[0].caller
            seen = not ending and (on or not any(watch.in_steps for watch in watches))
            masks[key] = masks.get(key, 0) | (events.CALL if seen else 0)  # CALL brings C_RETURN and C_RAISE with it
        for key, code in codes.items():
            self._set_local(code, masks[key])

    def _set_local(self, code: types.CodeType, mask: int) -> None:
        """The local events of this code from now on; where they are so already, the call would only cost."""
        if self._masks.get(id(code), 0) != mask:
            sys.monitoring.set_local_events(self._tool, code, mask)
            self._masks[id(code)] = mask

    def _switch_on(self, watch: Watch) -> None:
        if self._tool is not None:
            events = sys.monitoring.events
            mask = sys.monitoring.get_local_events(self._tool, watch.code)
            self._set_local(
                watch.code,
                mask | events.PY_START | events.PY_RETURN | (events.PY_YIELD if watch.is_generator else 0),
            )

    # callbacks: frame 1 is the one that the event is about ---------------------------------------------------------

    def _callbacks_of_functions(self) -> tuple[Callable, ...]:
        """For starts, returns, yields and unwindings of Python functions; see event_writer for their form."""
        watches, watch_of, begin, end, local = self.watches, self.watch_of, self.begin, self.end, self.local
        known = watches.get
        frame_at, never_again, disabled = sys._getframe, sys.monitoring.DISABLE, self._disabled.append

        def on_start(code: types.CodeType, offset: int):
            watch = known(id(code)) or watch_of(code)
            if watch is None:
                disabled(id(code))
                return never_again  # for this code
            begin(watch, frame_at(1))
            return None

        def ending(status: int):
            def on_end(code: types.CodeType, offset: int, value: object):
                if id(code) not in watches:
                    disabled(id(code))
                    return never_again
                try:
                    state = local.state
                except AttributeError:  # a thread in which nothing was watched yet
                    return None
                if state.stack and state.stack[-1][2] is frame_at(1):
                    end(state, value, status)
                return None

            return on_end

        def on_unwind(code: types.CodeType, offset: int, exception: BaseException) -> None:
            if id(code) in watches:  # a global event: DISABLE is refused there
                state = getattr(local, "state", None)
                if state is not None and state.stack and state.stack[-1][2] is frame_at(1):
                    end(state, None, RAISED)

        return on_start, ending(RETURNED), ending(YIELDED), on_unwind

    def _on_line(self, code, number) -> None:
        self.line(sys._getframe(1), number)

    def _callbacks_of_builtins(self) -> dict[int, Callable]:
        """For calls out of the functions that call a watched builtin, and for the returns of builtins."""
        watches_in, begin, end, local = self.builtin_watches.get, self.begin, self.end, self.local
        frame_at, not_here, disabled = sys._getframe, sys.monitoring.DISABLE, self._disabled.append

        def on_call(code: types.CodeType, offset: int, called: object, first: object):
            watches = watches_in(id(code), ())
            for watch in watches:
                if watch.matches(called):
                    begin(watch, frame_at(1))
                    return None
            if _always_calls_another(code, offset, called, watches):
                disabled(id(code))
                return not_here
            return None

        def ending(status: int):
            def on_end(code: types.CodeType, offset: int, called: object, first: object) -> None:
                state = getattr(local, "state", None)
                if state is None or not state.stack:
                    return
                _, watch, frame, *_ = state.stack[-1]
                if type(watch) is BuiltinWatch and frame is frame_at(1):
                    end(state, None, status)

            return on_end

        events = sys.monitoring.events
        return {events.CALL: on_call, events.C_RETURN: ending(RETURNED), events.C_RAISE: ending(RAISED)}


def _always_calls_another(code: types.CodeType, offset: int, called: object, watches: Sequence[BuiltinWatch]) -> bool:
    """Whether the instruction that called this will not call a watched builtin the next time: it calls something by its
    own name, which is not that of a watched one."""
    if type(called) not in _NAMED or called.__name__ != _names_called(code).get(offset):
        return False
    return all(called.__name__ != watch.name for watch in watches)


@functools.lru_cache(maxsize=256)
def _names_called(code: types.CodeType) -> dict[int, str]:
    """By offset of a call, the global or attribute that it calls: what was loaded from where the call begins, last
    before the call. Calls of anything else are left out; all of them where Python keeps no columns."""
    names: dict[int, str] = {}
    loaded: dict[tuple, str | None] = {}
    for instruction in dis.get_instructions(code):
        positions = instruction.positions
        if positions is None or positions.col_offset is None:
            continue
        begins = positions.lineno, positions.col_offset
        if instruction.opname.startswith("LOAD_"):
            is_named = instruction.opname.startswith(("LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD"))
            loaded[begins] = instruction.argval if is_named else None
        elif instruction.opname.startswith("CALL") and loaded.get(begins):
            names[instruction.offset] = loaded[begins]
    return names


def _put(state: ThreadState, states: set[ThreadState], belongs: bool) -> None:
    (states.add if belongs else states.discard)(state)
