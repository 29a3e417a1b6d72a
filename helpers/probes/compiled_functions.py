"""Functions that torch.compile gave (`torch.compile(model.forward)`) and that were called by themselves: Python runs
nothing inside them, and no module call around them tells that something is missing."""

from __future__ import annotations

import sys
import threading
import types
from typing import TYPE_CHECKING

import torch

from ..events import MODULE, NOT_OBSERVED
from ..landmarks import code_of, find
from .event_log import START_FIELDS
from .guard import noting
from .redact import text

if TYPE_CHECKING:
    from .calls import CallProbe

MODULE_OF_THE_COMPILER = "torch._dynamo.eval_frame"  # importing it takes a second: only looked at where it is loaded
WRAPPERS = ("compile_wrapper", "_fn")  # what torch.compile gives for a function, by version


class CompiledFunctions:
    """Collects the names of compiled functions that were called outside modules and generate(), and within which no
    module was seen to be called."""

    def __init__(self, probe: CallProbe) -> None:
        self.silent: list[str] = []
        self.problems: dict[str, str] = {}
        self._probe = probe
        self._local = threading.local()
        self._watched: set[types.CodeType] = set()
        self._look_for_wrapper(None)
        compiling = code_of(torch.compile)
        if compiling is not None:
            probe.tell(compiling, None, self._look_for_wrapper)

    def _look_for_wrapper(self, _value: object) -> None:
        """Called at the start, and after torch.compile, which loads the compiler."""
        if MODULE_OF_THE_COMPILER not in sys.modules:
            return
        for name in WRAPPERS:
            try:
                code = find(f"{MODULE_OF_THE_COMPILER}:_TorchDynamoContext.__call__.<locals>.{name}")
            except AttributeError:  # of another torch
                continue
            if code not in self._watched:
                self._watched.add(code)
                self._probe.tell(code, self.called, self.left)

    @noting("compiled functions")
    def called(self, frame: types.FrameType) -> None:
        """A compiled function is called."""
        calls = self._local.__dict__.setdefault("calls", [])
        state = self._probe.state()
        alone = not calls and not state.modules and state.generation == NOT_OBSERVED
        function = frame.f_locals.get("fn") if alone else None
        calls.append((function is not None, _name(function), len(self._probe.log.starts)))

    @noting("compiled functions")
    def left(self, _value: object) -> None:
        """It returned, or an exception left it."""
        alone, name, before = self._local.calls.pop()
        if alone and name not in self.silent and MODULE not in self._kinds(before):
            self.silent.append(name)

    def _kinds(self, first: int) -> set[int]:
        return {row[_KIND] for row in self._probe.log.starts.rows(first)}


_KIND = START_FIELDS.index("kind")


def _name(function: object) -> str:
    return text(str(getattr(function, "__qualname__", type(function).__name__)))
