"""Ctrl-C during a recording: raised in the program, never lost in a probe, and nothing stays behind."""

import _thread
import itertools
import signal
import sys
import threading
import time

import pytest

from helpers import record
from helpers.probes.interrupts import InterruptGuard
from helpers.recorder import Recorder


def wait():
    """Give an interrupt that was sent again the time to arrive."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        time.sleep(0.01)


CALLBACKS = "callbacks_of_a_probe.py"
scope = {"signal": signal, "wait": wait}
CODE = """
def callback():
    signal.raise_signal(signal.SIGINT)

def wait_in_a_callback():
    callback()
    wait()
"""
exec(compile(CODE, CALLBACKS, "exec"), scope)
callback = scope["callback"]  # a callback of the interpreter, as far as its file tells


def inner_function():
    signal.raise_signal(signal.SIGINT)
    return "whole"


def closed_by_python():
    """A generator that is not exhausted, and interrupted in a callback while Python closes it."""

    def numbers():
        try:
            yield 1
        finally:
            callback()

    next(numbers())


@pytest.fixture
def guard(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: None)
    before = signal.getsignal(signal.SIGINT)
    guard = InterruptGuard(CALLBACKS, inner_function)
    yield guard
    guard.release()
    assert signal.getsignal(signal.SIGINT) is before


def test_without_the_guard_it_is_lost_where_python_closes_a_generator(guard):
    closed_by_python()


@pytest.mark.parametrize("program", [closed_by_python, callback])
def test_an_interrupt_in_a_callback_comes_later(guard, program):
    guard.hold()
    program()
    with pytest.raises(KeyboardInterrupt):
        wait()


def test_a_program_that_is_always_met_in_a_callback_is_interrupted_all_the_same(guard):
    guard.hold()
    wait_in_a_callback = scope["wait_in_a_callback"]
    with pytest.raises(KeyboardInterrupt):
        wait_in_a_callback()


def test_an_interrupt_in_a_function_that_must_not_be_left_comes_after_it(guard):
    guard.hold()
    assert inner_function() == "whole"
    with pytest.raises(KeyboardInterrupt):
        wait()


def test_anywhere_else_it_comes_at_once(guard):
    guard.hold()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_handler_of_the_program_is_called_and_one_that_it_sets_meanwhile_stays(guard, monkeypatch):
    told = []
    before = signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
    try:
        guard.hold()
        signal.raise_signal(signal.SIGINT)
        assert told == [signal.SIGINT]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        guard.release()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        guard.hold()  # nothing is raised where it is ignored: nothing to guard
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_sets_no_handler(guard):
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=guard.hold)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before


# recordings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["_make_probe", "_finish"])
def test_an_interrupt_while_a_recording_begins_or_ends_leaves_it_whole(method, monkeypatch):
    original = getattr(Recorder, method)
    recorder = record("modules")

    def interrupted(self, *given):
        signal.raise_signal(signal.SIGINT)
        return original(self, *given)

    def run():
        with recorder:
            if method == "_make_probe":
                wait()
        wait()

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Recorder, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.undo()
    assert recorder.recording.finished
    assert recorder.recording.environment.get("ended_by") == ("KeyboardInterrupt" if method == "_make_probe" else None)
    assert signal.getsignal(signal.SIGINT) is before
    with record("landmarks"):  # its place in the interpreter is free again
        pass


def met_in_a_callback() -> bool:
    """Wait until Ctrl-C is raised; whether it was raised in the profile function, which Python then takes off."""
    threading.Timer(0.05, _thread.interrupt_main).start()
    try:
        for _ in itertools.repeat(None, 2000):
            time.sleep(0.005)  # it arrives in here, and is met in what runs next: the profile function
    except KeyboardInterrupt:
        return sys.version_info < (3, 12) and sys.getprofile() is None
    raise AssertionError("it was not raised")


def test_ctrl_c_in_the_profile_function_is_not_taken_for_another_profiler():
    def interrupted():
        met_in_a_callback()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), record("landmarks") as recording:
        interrupted()
    assert recording.warnings == []
    assert recording.environment["ended_by"] == "KeyboardInterrupt"


def test_a_program_that_goes_on_after_it_is_told_that_the_rest_was_not_observed():
    with record("landmarks") as recording:
        met = met_in_a_callback()
    if met:
        (said,) = recording.warnings
        assert said.startswith("Ctrl-C met the recorder's profile function")
    else:
        assert recording.warnings == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_guards_that_overlap_put_the_handler_back_in_any_order(order):
    """Recordings of handlers that interleave in an event loop, where Python has room for several."""
    before = signal.getsignal(signal.SIGINT)
    guards = [InterruptGuard(CALLBACKS) for _ in range(3)]
    for guard in guards:
        guard.hold()
    for which in order:
        guards[which].release()
    try:
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_passes_by_a_guard_that_ended_before_a_later_one():
    first, second = InterruptGuard(CALLBACKS), InterruptGuard(CALLBACKS)
    first.hold()
    second.hold()
    first.release()
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            signal.raise_signal(signal.SIGINT)
        assert not first.raised_in_callback
        handlers = [entry.frame.f_locals.get("self") for entry in raised.traceback if entry.name == "_handler"]
        assert handlers == [second]
    finally:
        second.release()
