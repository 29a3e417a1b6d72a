"""Ctrl-C while a recording runs.

Python runs the signal's handler between any two instructions of the main thread, so also in the middle of a probe. An
interrupt that is raised in `__enter__` or `__exit__` would leave half a probe behind; one in a callback of
sys.monitoring is printed and ignored where Python is closing a generator; and one in the profile function takes that
off, so that a program that goes on after it is no longer recorded. So it is not raised there, but a moment later.

A program that waits in a builtin (`sleep`, `join`) is met in the profile function each time, which is the first to run
after the builtin; so an interrupt in a callback is put off for a while only.

While it stands, asyncio.run() does not put its own handler there: it does so only in place of Python's.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
import types

AGAIN = 0.001  # seconds: longer than a callback of a probe
PATIENCE = 0.25  # seconds


class InterruptGuard:
    """Stands before the handler of SIGINT between `hold()` and `release()`.

    `callbacks`: the source file of the functions that the interpreter calls. `functions`: others. In these, and in what
    they call, no interrupt is raised; in a callback not before PATIENCE.
    """

    def __init__(self, callbacks: str, *functions: types.FunctionType) -> None:
        self._callbacks = callbacks
        self._codes = frozenset(function.__code__ for function in functions)
        self._previous: object = None
        self._arrived: float | None = None  # the interrupt that is put off
        self._ended = False  # in another thread, which may set no handler
        self.raised_in_callback = False  # Python then takes a profile function off

    def hold(self) -> None:
        """Only in the main thread, which alone runs handlers, and where an interrupt is a Python exception."""
        previous = signal.getsignal(signal.SIGINT)
        while isinstance(earlier := getattr(previous, "__self__", None), InterruptGuard) and earlier._ended:
            previous = earlier._previous
        if callable(previous) and threading.current_thread() is threading.main_thread():
            self._previous = previous
            signal.signal(signal.SIGINT, self._handler)

    def release(self) -> None:
        """Put the handler back; one that the program has set meanwhile stays.

        A recording that began later, and still runs, stands before this one: it is given the handler to put back. Only
        the main thread may put one back: ended in another, this one does so at the next interrupt, or recording.
        """
        if self._previous is None:
            return
        current = signal.getsignal(signal.SIGINT)
        if current == self._handler:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, self._previous)
            else:
                self._ended = True
            return
        while isinstance(later := getattr(current, "__self__", None), InterruptGuard):
            if later._previous == self._handler:
                later._previous = self._previous
                return
            current = later._previous

    def _handler(self, number: int, frame: types.FrameType | None) -> None:
        if self._ended:
            if signal.getsignal(number) == self._handler:  # else the program's own passes it on
                signal.signal(number, self._previous)
            self._previous(number, frame)
            return
        here = frame
        in_callback = False
        while here is not None:
            in_callback = in_callback or here.f_code.co_filename == self._callbacks
            if here.f_code in self._codes or (here.f_code.co_filename == self._callbacks and self._may_wait()):
                _thread.start_new_thread(_send_again, ())  # sent from this thread, it would be handled at once
                return
            here = here.f_back
        self.raised_in_callback = self.raised_in_callback or in_callback
        self._arrived = None
        self._previous(number, frame)

    def _may_wait(self) -> bool:
        now = time.monotonic()
        if self._arrived is None:
            self._arrived = now
        return now - self._arrived < PATIENCE


def _send_again() -> None:
    time.sleep(AGAIN)
    _thread.interrupt_main()
