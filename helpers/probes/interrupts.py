"""Ctrl-C while a recording runs.

Python runs the signal's handler between any two instructions of the main thread, so also in the middle of a probe. An
interrupt that is raised in `__enter__` or `__exit__` would leave half a probe behind; one in a callback that is told of
a generator is printed and ignored where Python is closing it. So it is not raised there, but a moment later.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
import types

from .watch import GENERATOR

AGAIN = 0.001  # seconds: longer than a callback of a probe


class InterruptGuard:
    """Stands before the handler of SIGINT between `hold()` and `release()`.

    `callbacks`: the source file of the functions that the interpreter calls. `functions`: others in which, and in what
    they call, no interrupt is raised.
    """

    def __init__(self, callbacks: str, *functions: types.FunctionType) -> None:
        self._callbacks = callbacks
        self._codes = frozenset(function.__code__ for function in functions)
        self._previous: object = None

    def hold(self) -> None:
        """Only in the main thread, which alone runs handlers, and where an interrupt is a Python exception."""
        previous = signal.getsignal(signal.SIGINT)
        if callable(previous) and threading.current_thread() is threading.main_thread():
            self._previous = previous
            signal.signal(signal.SIGINT, self._handler)

    def release(self) -> None:
        """Put the handler back; one that the program has set meanwhile stays."""
        if self._previous is not None and signal.getsignal(signal.SIGINT) == self._handler:
            signal.signal(signal.SIGINT, self._previous)

    def _handler(self, number: int, frame: types.FrameType | None) -> None:
        here = frame
        while here is not None:
            if here.f_code in self._codes or self._is_told_of_a_generator(here):
                _thread.start_new_thread(_send_again, ())  # sent from this thread, it would be handled at once
                return
            here = here.f_back
        self._previous(number, frame)

    def _is_told_of_a_generator(self, frame: types.FrameType) -> bool:
        about = frame.f_back
        return (
            frame.f_code.co_filename == self._callbacks
            and about is not None
            and bool(about.f_code.co_flags & GENERATOR)
        )


def _send_again() -> None:
    time.sleep(AGAIN)
    _thread.interrupt_main()
