"""The call probe on `sys.monitoring` (PEP 669), for Python 3.12 and later.

Local events cost nothing where nothing is watched, and fire in all threads. Three traps: exceptions cannot be a local
event, so a global PY_UNWIND closes the calls that an exception leaves; callbacks get the code, not the frame; and
`free_tool_id` leaves local events and callbacks alive for the id's next owner, so each is taken back first.
"""

from __future__ import annotations

import sys
import types

from ..events import RAISED, RETURNED, YIELDED, RecordingError
from .calls import CallProbe
from .watch import Watch

NAME = "sys.monitoring"
TOOL = "helpers.record"
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
                f"Both free places of sys.monitoring are taken ({holders}): another recording is running. End it first."
            )
        monitoring.use_tool_id(self._tool, TOOL)
        events = monitoring.events
        self._callbacks = {
            events.PY_START: self._on_start,
            events.PY_RETURN: self._on_return,
            events.PY_YIELD: self._on_yield,
            events.PY_UNWIND: self._on_unwind,
            events.CALL: self._on_call,
            events.C_RETURN: self._on_c_return,
            events.C_RAISE: self._on_c_raise,
            events.LINE: self._on_line,
        }
        for event, callback in self._callbacks.items():
            monitoring.register_callback(self._tool, event, callback)
        if self.finds_watches:
            monitoring.restart_events()  # an earlier recording has disabled the events of other code
        self._set_all(True)

    def stop(self) -> None:
        """See CallProbe.stop."""
        monitoring = sys.monitoring
        self._set_all(False, ending=True)
        for event in self._callbacks:
            monitoring.register_callback(self._tool, event, None)
        monitoring.free_tool_id(self._tool)

    def set_keeping(self, keeping: bool) -> None:
        """See CallProbe.set_keeping."""
        if keeping != self.keeping:
            self.keeping = keeping
            self._set_all(keeping)

    def _set_all(self, on: bool, *, ending: bool = False) -> None:
        """Switch the local events of all watched code. Off, the boundaries of steps stay watched, and the returns of
        calls that are still open; `ending` takes everything off."""
        events = sys.monitoring.events
        everywhere = events.PY_UNWIND if not ending else 0
        if on and self.finds_watches:
            everywhere |= events.PY_START | events.PY_RETURN | events.PY_YIELD
        sys.monitoring.set_events(self._tool, everywhere)
        still_open = {id(watch.code) for _, watch, *_ in self.state().stack if isinstance(watch, Watch)}
        masks: dict[int, int] = {}
        codes: dict[int, types.CodeType] = {}
        for key, watch in self.watches.items():
            codes[key] = watch.code
            if ending:
                masks[key] = 0
            elif on or watch.boundary:
                masks[key] = events.PY_START | events.PY_RETURN | (events.PY_YIELD if watch.is_generator else 0)
            else:
                masks[key] = events.PY_RETURN if key in still_open else 0
        if self.lines is not None:
            for key in self.lines.codes:
                masks[key] |= events.LINE if on else 0
        for key, watches in self.builtin_watches.items():
            codes[key] = watches[0].caller
            masks[key] = masks.get(key, 0) | (events.CALL if on else 0)  # CALL brings C_RETURN and C_RAISE with it
        for key, code in codes.items():
            sys.monitoring.set_local_events(self._tool, code, masks[key])

    def _switch_on(self, watch: Watch) -> None:
        if self._tool is not None:
            events = sys.monitoring.events
            mask = sys.monitoring.get_local_events(self._tool, watch.code)
            sys.monitoring.set_local_events(
                self._tool,
                watch.code,
                mask | events.PY_START | events.PY_RETURN | (events.PY_YIELD if watch.is_generator else 0),
            )

    # callbacks: frame 1 is the one that the event is about ---------------------------------------------------------

    def _on_start(self, code, offset):
        watch = self.watch_of(code)
        if watch is None:
            return sys.monitoring.DISABLE  # never again for this code
        if self.keeping or watch.boundary:
            self.begin(watch, sys._getframe(1))
        return None

    def _on_return(self, code, offset, value):
        return self._end_or_disable(code, value, RETURNED)

    def _on_yield(self, code, offset, value):
        return self._end_or_disable(code, value, YIELDED)

    def _end_or_disable(self, code, value: object, status: int):
        if id(code) not in self.watches:
            return sys.monitoring.DISABLE
        self._end_frame(sys._getframe(2), value, status)
        return None

    def _on_unwind(self, code, offset, exception) -> None:
        if id(code) in self.watches:
            self._end_frame(sys._getframe(1), None, RAISED)

    def _end_frame(self, frame, value: object, status: int) -> None:
        state = self.state()
        if state.stack and state.stack[-1][2] is frame:
            self.end(state, value, status)

    def _on_line(self, code, number) -> None:
        self.line(sys._getframe(1), number)

    def _on_call(self, code, offset, called, first) -> None:
        for watch in self.builtin_watches.get(id(code), ()):
            if watch.matches(called):
                self.begin_builtin(watch, sys._getframe(1))
                break

    def _on_c_return(self, code, offset, called, first) -> None:
        self._end_builtin(sys._getframe(1), RETURNED)

    def _on_c_raise(self, code, offset, called, first) -> None:
        self._end_builtin(sys._getframe(1), RAISED)

    def _end_builtin(self, frame, status: int) -> None:
        state = self.state()
        if state.stack and state.stack[-1][2] is frame and not isinstance(state.stack[-1][1], Watch):
            self.end(state, None, status)
