"""Writes the events of the call probe: what runs at each start and end of a watched call.

Closures and not methods: an event is written between two kernels, with cold caches, where each look-up of an attribute
counts. Needs no torch.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..events import BUILTIN, MODULE, NOT_OBSERVED, NOTHING, RAISED

if TYPE_CHECKING:
    from .calls import CallProbe, ThreadState
    from .describe import Describer
    from .memory import MemoryProbe
    from .watch import BuiltinWatch, Watch


def event_writer(
    probe: CallProbe, describer: Describer, memory: MemoryProbe | None, clock: Callable[[], int]
) -> tuple[Callable, Callable]:
    """(begin, end) for the log of this probe.

    `begin(watch, frame)`: a watched function starts in `frame`, or a watched builtin is called by it.
    `end(state, value, status)`: the innermost open call of this thread ended with `value` (None when an exception left
    it).
    """
    local, new_thread, told, note = probe.local, probe.new_thread, probe.told, probe.note
    next_index = probe.log.next_index
    started, start_row = probe.log.starts.write, probe.log.starts.pack
    ended, end_row = probe.log.ends.write, probe.log.ends.pack
    sample = memory.sample if memory is not None else None
    description_of_one = describer.description_of_one
    mode_is_on, outside_modes = describer.modes
    lines = probe.lines
    line_codes = lines.codes if lines is not None else ()

    def begin(watch: Watch | BuiltinWatch, frame: types.FrameType) -> None:
        if mode_is_on():
            with outside_modes():  # where none is on
                begin(watch, frame)
            return
        if watch.accepts is not None and not watch.accepts(frame):
            return
        try:
            state = local.state
        except AttributeError:
            state = new_thread()
        if watch.on_enter is not None:
            told(watch.on_enter, frame)
        if state.step != NOT_OBSERVED:
            watch.in_steps = True
        stack, kind, read = state.stack, watch.kind, watch.read
        parent = stack[-1][3] if stack else NOT_OBSERVED  # calls without an event of their own are looked through
        if read is None or not state.keeping:
            if kind != BUILTIN:
                stack.append((NOT_OBSERVED, watch, frame, parent, False))
            return
        before = NOT_OBSERVED  # memory is read at landmarks, and around the outermost module call
        if sample is not None and (watch.samples_memory or (kind == MODULE and not state.modules)):
            before = sample()
        try:
            function, path, description = read(frame)
        except Exception as error:  # an object of the reader's raised while it was looked at: the run goes on unchanged
            note(watch.name, error)
            stack.append((NOT_OBSERVED, watch, frame, parent, False))
            return
        index = next_index()
        started(
            start_row(
                index, kind, function, path, description, state.number, parent, state.generation, state.step,
                before, clock(),
            )
        )  # fmt: skip
        # after its row: Ctrl-C may fall between the two, and an end needs its start
        stack.append((index, watch, frame, index, before != NOT_OBSERVED))
        if kind == MODULE:
            state.modules += 1

    def end(state: ThreadState, value: object, status: int) -> None:
        if mode_is_on():
            with outside_modes():
                end(state, value, status)
            return
        now = clock()
        index, watch, frame, _, samples_memory = state.stack.pop()
        if watch.on_exit is not None:
            told(watch.on_exit, value)
        if index == NOT_OBSERVED:
            return
        kind, description = watch.kind, NOTHING
        if kind == MODULE:
            state.modules -= 1
        if kind != BUILTIN:
            if line_codes and id(watch.code) in line_codes:
                lines.ended(index, frame)
            if status != RAISED:
                description = description_of_one(watch.result, value)
                if watch.measure is not None:
                    watch.measure(index, value, frame)
        ended(end_row(index, now, description, sample() if samples_memory else NOT_OBSERVED, status))

    return begin, end
