"""The zoom level "lines": which lines of a named function ran, and what each changed.

A line's row is written when the next line begins, or the function ends: only then is it known what the line changed.
Between two lines only the identity and the description of each variable are kept, never the variable.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .describe import Describer

Seen = dict[str, tuple[int, int, int]]  # name to (identity, tensor list, value list)


class LineProbe:
    """Collects line rows of the code objects that it is given; `rows` are in the order in which lines ended.

    `named`: the code by the name that the reader gave, None for a landmark without a function of its own here.
    """

    def __init__(self, named: dict[str, types.CodeType | None], describer: Describer, clock: Callable[[], int]) -> None:
        self._named = named
        self._ran: set[int] = set()
        self.codes = {id(code): code for code in named.values() if code is not None}
        self.rows: list[tuple[int, int, int, int, int]] = []  # event, line, start, tensors, values
        self._describer = describer
        self._clock = clock
        self._running: dict[int, list] = {}  # event to [line, its start, variables before it]

    def line(self, event: int, frame: types.FrameType, number: int) -> None:
        """Line `number` of the call `event` begins in `frame`."""
        running = self._running.get(event)
        if running is None:
            self._ran.add(id(frame.f_code))
            _, seen = self._look(frame, {})
            self._running[event] = [number, self._clock(), seen]
            return
        self._end_line(event, running, frame)
        running[0], running[1] = number, self._clock()

    def silent(self) -> list[str]:
        """The names of which no line was recorded."""
        return [name for name, code in self._named.items() if id(code) not in self._ran]

    def ended(self, event: int, frame: types.FrameType) -> None:
        """The call ended: so did its last line."""
        running = self._running.pop(event, None)
        if running is not None:
            self._end_line(event, running, frame)

    def _end_line(self, event: int, running: list, frame: types.FrameType) -> None:
        number, start, before = running
        changed, running[2] = self._look(frame, before)
        self.rows.append((event, number, start, *self._describer.describe(changed)))

    def _look(self, frame: types.FrameType, before: Seen) -> tuple[list[tuple[str, object]], Seen]:
        """The variables that differ from `before`, and all as they are now."""
        changed: list[tuple[str, object]] = []
        now: Seen = {}
        for name, value in frame.f_locals.items():
            now[name] = (id(value), *self._describer.describe(((name, value),)))
            if before.get(name) != now[name]:
                changed.append((name, value))
        return changed, now
