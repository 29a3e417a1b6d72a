"""The call probe on `sys.setprofile`, for Python before 3.12.

The interpreter calls the profile function at every call and return, Python or C, so each line of it counts.
"""

from __future__ import annotations

import dis
import functools
import sys
import threading
import types

from ..events import RAISED, RETURNED, YIELDED, RecordingError
from .calls import CallProbe
from .watch import GENERATOR, Watch

NAME = "sys.setprofile"
_ENDINGS = {
    dis.opmap[name]: status
    for name, status in (("RETURN_VALUE", RETURNED), ("YIELD_VALUE", YIELDED), ("SEND", YIELDED))
}


class ProfileProbe(CallProbe):
    """Sees the thread it is started in and every thread started while it runs; threads older than that are not seen."""

    name = NAME

    def start(self) -> None:
        """See CallProbe.start."""
        if sys.getprofile() is not None or threading.getprofile() is not None:
            raise RecordingError(
                "A profile function is already set (cProfile, VizTracer, another recording, …) and Python has room for "
                "one only. Stop it before record(), or use Python 3.12 or later, where several tools can run."
            )
        if self.lines is not None and (sys.gettrace() is not None or threading.gettrace() is not None):
            raise RecordingError(
                "A debugger or coverage is running (sys.gettrace() is set), and before Python 3.12 lines are recorded "
                "in the same place. End it, record without lines, or use Python 3.12 or later."
            )
        self._active = True
        self._full, self._slim = self._functions()
        if self.lines is not None:
            threading.settrace(self._trace)
            sys.settrace(self._trace)
        threading.setprofile(self._full)
        sys.setprofile(self._full)

    def stop(self) -> None:
        """See CallProbe.stop. A thread that outlives the recording takes its profile function off at its next call."""
        sys.setprofile(None)
        threading.setprofile(None)
        if self.lines is not None:
            sys.settrace(None)
            threading.settrace(None)
        self._active = False

    def set_keeping(self, keeping: bool) -> None:
        """See CallProbe.set_keeping."""
        if keeping == self.keeping:
            return
        self.keeping = keeping
        # only the thread that generates changes over; others have nothing to record in a decode step
        if sys.getprofile() is not None:
            sys.setprofile(self._full if keeping else self._slim)

    def _trace(self, frame: types.FrameType, event: str, arg: object):
        """Asks for line events of the functions whose lines are recorded, of no other."""
        return self._trace_line if id(frame.f_code) in self.lines.codes and self._active else None

    def _trace_line(self, frame: types.FrameType, event: str, arg: object):
        if event == "line" and self._active:
            self.line(frame, frame.f_lineno)
        return self._trace_line

    def _functions(self):
        """The profile function that keeps everything, and the one that watches the boundaries of steps only."""
        watches, builtin_watches = self.watches.get, self.builtin_watches.get
        finds, watch_of = self.finds_watches, self.watch_of
        boundaries = self.boundaries.get
        begin, end, state = self.begin, self.end, self.state

        def full(frame: types.FrameType, event: str, arg: object) -> None:
            if event == "call":
                watch = watch_of(frame.f_code) if finds else watches(id(frame.f_code))
                if watch is not None:
                    if not self._active:
                        sys.setprofile(None)
                    elif not watch.is_generator or _is_first_start(frame):
                        begin(watch, frame)
            elif event == "return":
                if id(frame.f_code) in self.watches:
                    here = state()
                    if here.stack and here.stack[-1][2] is frame:
                        end(here, arg, _status(frame, arg))
            elif event == "c_call":
                candidates = builtin_watches(id(frame.f_code))
                if candidates is not None:
                    for watch in candidates:
                        if watch.matches(arg):
                            self.begin_builtin(watch, frame)
                            break
            elif id(frame.f_code) in self.builtin_watches:  # c_return, c_exception
                here = state()
                if here.stack and here.stack[-1][2] is frame and not isinstance(here.stack[-1][1], Watch):
                    end(here, None, RAISED if event == "c_exception" else RETURNED)

        def slim(frame: types.FrameType, event: str, arg: object) -> None:
            if event == "call":
                watch = boundaries(id(frame.f_code))
                if watch is not None:
                    begin(watch, frame)
            elif event == "return" and id(frame.f_code) in self.watches:
                # calls opened while everything was kept (generate, _sample, the pipeline) end here too
                here = state()
                if here.stack and here.stack[-1][2] is frame:
                    end(here, arg, _status(frame, arg))

        return full, slim


def _status(frame: types.FrameType, value: object) -> int:
    """How the call ended. A profile function gets None both for `return None` and for an exception: the instruction
    at which the frame stopped tells them apart. It is looked at only where needed: reading `co_code` copies it."""
    if value is not None and not frame.f_code.co_flags & GENERATOR:
        return RETURNED
    return _ENDINGS.get(frame.f_code.co_code[frame.f_lasti], RAISED)


@functools.cache
def _start_of_generator(code: types.CodeType) -> int:
    """Offset of the first RESUME instruction, where a generator stands when its body starts."""
    return next(step.offset for step in dis.get_instructions(code) if step.opname == "RESUME")


def _is_first_start(frame: types.FrameType) -> bool:
    """Whether a generator runs for the first time; a resume is not a call."""
    return frame.f_lasti == _start_of_generator(frame.f_code)
