"""The call probe on `sys.setprofile`, for Python before 3.12.

The interpreter calls the profile function at every call and return, Python or C, so each line of it counts.
"""

from __future__ import annotations

import dis
import functools
import sys
import threading
import time
import types
from collections.abc import Callable

from ..events import RAISED, RETURNED, YIELDED, RecordingError
from .calls import CallProbe
from .watch import GENERATOR, BuiltinWatch

NAME = "sys.setprofile"
_ENDINGS = {
    dis.opmap[name]: status
    for name, status in (("RETURN_VALUE", RETURNED), ("YIELD_VALUE", YIELDED), ("SEND", YIELDED))
}


BUSY = 0.001  # seconds of the processor, in which a thread has worked
BUSY_BESIDE = 0.05  # … where others were seen: beside them, a notebook's kernel and the like work a little too
BUSY_SHARE = 0.1  # of the recording's time, the same
MOST_NAMED = 3


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
        self._thread = threading.get_ident()
        self._began = time.monotonic()
        self._older = {
            thread: _processor_time(thread)
            for thread in threading.enumerate()
            if thread is not threading.current_thread()
        }
        self._full, self._slim, self._deactivate = self._functions()
        if self.lines is not None:
            threading.settrace(self._trace)
            sys.settrace(self._trace)
        threading.setprofile(self._full)
        sys.setprofile(self._full)

    def stop(self) -> None:
        """See CallProbe.stop. A thread that outlives the recording takes its profile function off at its next call.

        What somebody else has set in its place meanwhile stays. So does the one that began it, where another thread
        ends it: what stands there cannot be asked.
        """
        is_own = self._is_own(sys.getprofile())
        began_here = threading.get_ident() == self._thread
        displaced = began_here and not is_own
        if is_own:
            sys.setprofile(None)
        # Asked while it is active: the calls below would make an inactive trace function take itself off.
        traced = sys.gettrace() == self._trace
        if traced:
            sys.settrace(None)
        self._active = False
        self._deactivate()
        if displaced:
            self.problems["profile function"] = (
                "Another profile function was set during the recording, or this one's was taken off (cProfile, "
                "sys.setprofile): what ran after that was not observed. Python 3.12 or later has room for both."
            )
        if self._is_own(threading.getprofile()):
            threading.setprofile(None)
        if self.lines is not None:
            if began_here and not traced:
                self.problems["trace function"] = (
                    "Another trace function was set during the recording, or this one's was taken off (a debugger, "
                    "coverage): lines that ran after that were not observed."
                )
            if threading.gettrace() == self._trace:
                threading.settrace(None)

    def callbacks(self) -> list[Callable]:
        """See CallProbe.callbacks."""
        return [self._full, self._slim, self._trace.__func__, self._trace_line.__func__]

    def unseen_threads(self) -> list[str]:
        """See CallProbe.unseen_threads."""
        lasted = time.monotonic() - self._began
        least = max(BUSY_BESIDE, BUSY_SHARE * lasted) if self.log.starts else BUSY
        busy = [thread.name for thread, before in self._older.items() if _processor_time(thread) - before >= least]
        return busy[:MOST_NAMED]

    def was_interrupted(self, goes_on: bool) -> None:
        """See CallProbe.was_interrupted. Python takes a profile function off that an exception leaves: it was that,
        and no other profiler, where nothing stood in its place."""
        if sys.getprofile() is None and self.problems.pop("profile function", None) and goes_on:
            self.problems["profile function"] = (
                "Ctrl-C met the recorder's profile function, which Python takes off then: what the program did after "
                "it was not observed. On Python 3.12 and later it would be."
            )

    def _is_own(self, function: object) -> bool:
        return function is self._full or function is self._slim

    def set_keeping(self, keeping: bool) -> None:
        """See CallProbe.set_keeping."""
        state = self.state()
        if keeping == state.keeping:
            return
        state.keeping = keeping
        if self._is_own(sys.getprofile()):  # else somebody has set another one meanwhile
            sys.setprofile(self._full if keeping else self._slim)

    def _trace(self, frame: types.FrameType, event: str, arg: object):
        """Asks for line events of the functions whose lines are recorded, of no other."""
        if not self._active:
            sys.settrace(None)  # of a thread that has outlived the recording
            return None
        return self._trace_line if id(frame.f_code) in self.lines.codes else None

    def _trace_line(self, frame: types.FrameType, event: str, arg: object):
        if event == "line" and self._active:
            self.line(frame, frame.f_lineno)
        return self._trace_line

    def _functions(self):
        """The profile function that keeps everything, the one that watches the boundaries of steps only, and what has
        both take themselves off, each in its own thread, when they are called again."""
        watches, builtin_watches = self.watches.get, self.builtin_watches.get
        watched, callers = self.watches, self.builtin_watches
        finds, watch_of = self.finds_watches, self.watch_of
        boundaries = self.boundaries.get
        begin, end, state = self.begin, self.end, self.state
        active = True

        def deactivate() -> None:
            nonlocal active
            active = False

        def full(frame: types.FrameType, event: str, arg: object) -> None:
            if not active:
                sys.setprofile(None)
            elif event == "call":
                watch = watch_of(frame.f_code) if finds else watches(id(frame.f_code))
                if watch is not None and (not watch.is_generator or _is_first_start(frame)):
                    begin(watch, frame)
            elif event == "return":
                if id(frame.f_code) in watched:
                    here = state()
                    if here.stack and here.stack[-1][2] is frame:
                        end(here, arg, _status(frame, arg))
            elif event == "c_call":
                candidates = builtin_watches(id(frame.f_code))
                if candidates is not None:
                    for watch in candidates:
                        if watch.matches(arg):
                            begin(watch, frame)
                            break
            elif id(frame.f_code) in callers:  # c_return, c_exception
                here = state()
                if here.stack and here.stack[-1][2] is frame and type(here.stack[-1][1]) is BuiltinWatch:
                    end(here, None, RAISED if event == "c_exception" else RETURNED)

        def slim(frame: types.FrameType, event: str, arg: object) -> None:
            if not active:
                sys.setprofile(None)
            elif event == "call":
                watch = boundaries(id(frame.f_code))
                if watch is not None:
                    begin(watch, frame)
            elif event == "return" and id(frame.f_code) in watched:
                # calls opened while everything was kept (generate, _sample, the pipeline) end here too
                here = state()
                if here.stack and here.stack[-1][2] is frame:
                    end(here, arg, _status(frame, arg))

        return full, slim, deactivate


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


def _processor_time(thread: threading.Thread) -> float:
    """Seconds of the processor that a thread has used; 0 where it has ended, or the system does not tell."""
    if not hasattr(time, "pthread_getcpuclockid") or not thread.is_alive():
        return 0.0
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    except OSError:
        return 0.0
